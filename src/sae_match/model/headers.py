"""Sizes of the usual language models, by their config and the headers of their safetensors files.

What is not understood to the last tensor is not guessed at: `by_class` asks the model's own class.
"""

import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import SafetensorsParsingError

from sae_match.errors import UserError
from sae_match.hub import hub_errors
from sae_match.model.names import LAYERS, module_of
from sae_match.model.settings import ModelSettings
from sae_match.model.sizes import ModelSizes, settings_in, small_file
from sae_match.saes.formats.shared.headers import Shapes, shapes_in_safetensors
from sae_match.saes.sites import SITES, Site

_NORMS = ("input_layernorm", "post_attention_layernorm")
_LLAMA = (
    *_NORMS,
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
_OF_HEADS = ("self_attn.q_norm", "self_attn.k_norm")
_AROUND_MLP = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
_GPT_2 = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
_GPT_NEOX = (
    *_NORMS,
    *("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
)


@dataclass(frozen=True)
class _Kind:
    """What the files of a kind of model hold.

    Attributes:
        architecture: Class of its causal language models.
        layer: Modules of a decoder layer that have parameters.
        tied: Whether its head is its embedding where the config does not say.
        outside: Modules outside of its layers that have parameters, the embedding first.
        head: The head.
        turned: Whether its matrices are kept the other way round, input first.
        keys: What its config calls the width of the residual stream, the number of layers, of positions and of heads.
    """

    architecture: str
    layer: Sequence[str]
    tied: bool = False
    outside: tuple[str, ...] = ("embed_tokens", "norm")
    head: str = "lm_head"
    turned: bool = False
    keys: tuple[str, str, str, str] = (
        "hidden_size",
        "num_hidden_layers",
        "max_position_embeddings",
        "num_attention_heads",
    )


# By the config's `model_type`.
_KINDS = {
    "gemma": _Kind("GemmaForCausalLM", _LLAMA, tied=True),
    "gemma2": _Kind("Gemma2ForCausalLM", (*_LLAMA, *_AROUND_MLP), tied=True),
    "gemma3_text": _Kind("Gemma3ForCausalLM", (*_LLAMA, *_AROUND_MLP, *_OF_HEADS), tied=True),
    "llama": _Kind("LlamaForCausalLM", _LLAMA),
    "mistral": _Kind("MistralForCausalLM", _LLAMA),
    "qwen2": _Kind("Qwen2ForCausalLM", _LLAMA),
    "qwen3": _Kind("Qwen3ForCausalLM", (*_LLAMA, *_OF_HEADS)),
    "gpt2": _Kind(
        "GPT2LMHeadModel",
        _GPT_2,
        tied=True,
        outside=("wte", "wpe", "ln_f"),
        turned=True,
        keys=("n_embd", "n_layer", "n_positions", "n_head"),
    ),
    "gpt_neox": _Kind("GPTNeoXForCausalLM", _GPT_NEOX, outside=("embed_in", "final_layer_norm"), head="embed_out"),
}
_CONFIG = "config.json"
# Some files are of the model inside, without its head, and leave its name out.
_INSIDE = r"(?:(?:model|transformer|gpt_neox)\.)?"
_IN_LAYER = re.compile(rf"{_INSIDE}(?:{'|'.join(LAYERS)})\.(\d+)\.(.+\.(?:weight|bias))")
_OUTSIDE = re.compile(rf"{_INSIDE}(\w+\.(?:weight|bias))")
# Masks and frequencies that older files hold, and that are no parameters.
_NO_PARAMETERS = re.compile(r".*\.(?:attn|attention)\.(?:bias|masked_bias)|.*\.rotary_emb\.inv_freq")
# Shards whose headers are asked for at a time.
_AT_A_TIME = 8


def sizes_in_files(settings: ModelSettings, files: Sequence[str], commit: str | None) -> ModelSizes | None:
    """Sizes of a model by its files; none where they are of a kind that is not known here.

    Args:
        settings: Of the model.
        files: Names of its weight files.
        commit: Of its repository; none for a folder.

    Raises:
        UserError: If the hub cannot be reached or refuses, or a file on this machine is damaged.
    """
    config = settings_in(small_file(settings, _CONFIG))
    kind = _KINDS.get(str(config.get("model_type")))
    # What is quantised has other shapes in its files than in memory.
    if kind is None or "quantization_config" in config or not all(name.endswith(".safetensors") for name in files):
        return None
    shapes = _shapes(settings, files, commit)
    return None if shapes is None else _sizes(kind, config, shapes)


def _sizes(kind: _Kind, config: Mapping[str, Any], shapes: Shapes) -> ModelSizes | None:
    width, n_layers, positions, heads, vocabulary = (config.get(key) for key in (*kind.keys, "vocab_size"))
    parted = _parted({name: shape for name, shape in shapes.items() if not _NO_PARAMETERS.fullmatch(name)})
    if parted is None:
        return None
    outside, layers = parted
    tied = config.get("tie_word_embeddings", kind.tied)
    if tied:
        # A copy of the embedding, in files that hold it twice.
        outside.pop(f"{kind.head}.weight", None)
    embedding = outside.get(f"{kind.outside[0]}.weight")
    is_whole = (
        _modules(outside) == {*kind.outside, *(() if tied else (kind.head,))}
        and embedding == (vocabulary, width)
        and layers.keys() == set(range(len(layers)))
        and len(layers) == n_layers
        and all(_modules(layer) == set(kind.layer) for layer in layers.values())
    )
    if embedding is None or not is_whole or type(positions) is not int or type(heads) is not int:
        return None
    return ModelSizes(
        architecture=kind.architecture,
        n_layers=len(layers),
        d_in=embedding[1],
        vocabulary=embedding[0],
        parameters=sum(map(_parameters, (outside, *layers.values()))),
        parameters_per_layer=_parameters(layers[0]),
        positions=positions,
        widths=_widths(kind, embedding[1], layers[0]),
        heads=heads,
        inner=max(max(shape) for shape in layers[0].values() if len(shape) > 1),
    )


def _parted(shapes: Shapes) -> tuple[Shapes, dict[int, Shapes]] | None:
    """Shapes by name outside of the layers, and of each layer; none if a name is of neither, or comes twice."""
    outside: Shapes = {}
    layers: dict[int, Shapes] = {}
    for name, shape in shapes.items():
        if match := _IN_LAYER.fullmatch(name):
            layers.setdefault(int(match[1]), {})[match[2]] = shape
        elif match := _OUTSIDE.fullmatch(name):
            outside[match[1]] = shape
        else:
            return None
    return (outside, layers) if len(shapes) == sum(map(len, (outside, *layers.values()))) else None


def _modules(shapes: Shapes) -> set[str]:
    return {name.rpartition(".")[0] for name in shapes}


def _parameters(shapes: Shapes) -> int:
    return sum(map(math.prod, shapes.values()))


def _widths(kind: _Kind, d_in: int, layer: Shapes) -> dict[Site, int]:
    widths: dict[Site, int] = {}
    for site in SITES:
        module = module_of(site, lambda name: any(part.startswith(f"{name}.") for part in layer))
        if module is not None:
            widths[site] = layer[f"{module}.weight"][0 if kind.turned else 1] if site == "attention" else d_in
    return widths


def _shapes(settings: ModelSettings, files: Sequence[str], commit: str | None) -> Shapes | None:
    """Shapes of all tensors of the model; none where the hub does not give them or several files have the same."""

    def of(name: str) -> Shapes | None:
        if commit is None:
            return shapes_in_safetensors(Path(settings.location) / name)
        cached = try_to_load_from_cache(settings.source, name, revision=commit)
        if isinstance(cached, str):
            return shapes_in_safetensors(Path(cached))
        try:
            with hub_errors(f"{settings.source}/{name}"):
                said = HfApi().parse_safetensors_file_metadata(settings.source, name, revision=commit)
        except (UserError, SafetensorsParsingError):
            return None
        return {tensor: tuple(info.shape) for tensor, info in said.tensors.items()}

    with ThreadPoolExecutor(_AT_A_TIME) as several:
        parts = list(several.map(of, files))
    shapes: Shapes = {}
    for part in parts:
        if part is None or shapes.keys() & part.keys():
            return None
        shapes |= part
    return shapes
