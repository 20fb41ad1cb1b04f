"""A hub on this machine that has the public dictionaries and their models: names, sizes and small files of each.

What lies in a repository is what the package sae-lens lists; what stands in small files follows the public layouts.
Nothing large is there to be downloaded, and whoever asks for it is refused.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from urllib.parse import unquote

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from sae_match.saes.formats.gemma_scope import features_of
from tests.public_models import CONFIGS
from tests.saes.formats.registered import Registered, registered, the_list

COMMIT = "c" * 40
_READ = "model.layers.{}.pre_feedforward_layernorm.output"
_WRITTEN = "model.layers.{}.post_feedforward_layernorm.output"
_GEMMA_HOOKS = {
    "resid_post": ("model.layers.{}.output",) * 2,
    "mlp_out": (_WRITTEN,) * 2,
    "attn_out": ("model.layers.{}.self_attn.o_proj.input",) * 2,
    "transcoder": (_READ, _WRITTEN),
}
_LLAMA_HOOKS = {"R": "hook_resid_post", "M": "hook_mlp_out", "A": "hook_attn_out"}
_WEIGHTS = "model.safetensors"


@cache
def model_of(source: str) -> str:
    """The language model of a repository's dictionaries, as the hub calls it."""
    (name, *_) = {about["model"] for about in the_list().values() if about["repo_id"] == source}
    named = {
        "gemma-2-2b": "google/gemma-2-2b",
        "gemma-2-9b": "google/gemma-2-9b",
        "gpt2-small": "openai-community/gpt2",
    }
    return named.get(
        name, re.sub("^qwen3-", "Qwen/Qwen3-", name).replace("b", "B") if name.startswith("qwen3-") else name
    )


@cache
def width_of(source: str, site: str) -> int:
    """Entries of what dictionaries of a repository read."""
    text = AutoConfig.for_model(**CONFIGS[model_of(source)]).get_text_config()
    return text.num_attention_heads * text.head_dim if site == "heads" else text.hidden_size


def _gemma_scope(one: Registered) -> dict[str, str | int]:
    d_sae, site = features_of(one.which["width"]), "heads" if one.source.endswith("-att") else "residual"
    return {f"{one.path}/params.npz": _size(width_of(one.source, site), d_sae)}


def _gemma_scope_2(one: Registered) -> dict[str, str | int]:
    d_sae, site, layer = features_of(one.which["width"]), one.which["site"].removesuffix("_all"), one.which["layer"]
    d_in = width_of(one.source, "heads" if site == "attn_out" else "residual")
    skip = 4 * d_in**2 if one.which["l0"].endswith("_affine") else 0
    read, written = (hook.format(layer) for hook in _GEMMA_HOOKS[site])
    config = {
        "architecture": "jump_relu",
        "hf_hook_point_in": read,
        "hf_hook_point_out": written,
        "width": d_sae,
        "model_name": model_of(one.source),
        "l0": one.l0,
        "affine_connection": bool(skip),
        "type": "transcoder" if site == "transcoder" else "sae",
    }
    # Some published folders have no config; which, their list does not say.
    beside = {f"{one.path}/config.json": json.dumps(config)} if layer % 2 == 0 else {}
    return {f"{one.path}/params.safetensors": _size(d_in, d_sae) + skip, **beside}


def _qwen_scope(one: Registered) -> dict[str, str | int]:
    [thousands, k] = re.findall(r"-W(\d+)K-L0_(\d+)", one.source)[0]
    d_in, d_sae = width_of(one.source, "residual"), 1024 * int(thousands)
    sizes = {"d_model": d_in, "d_sae": d_sae, "k": int(k), "num_layers": len(_of(one.source))}
    config = {"model_type": "topk_sae", "base_model": model_of(one.source), "hook_point": "resid_post", **sizes}
    return {one.path: _size(d_in, d_sae), "config.json": json.dumps(config)}


def _circuit_tracer(one: Registered) -> dict[str, str | int]:
    hooks = 'feature_input_hook: "mlp.hook_in"\nfeature_output_hook: "mlp.hook_out"\n'
    config = f'model_name: "{model_of(one.source)}"\nmodel_kind: "transcoder_set"\n{hooks}'
    return {one.path: 10**9, "config.yaml": config}


def _llama_scope(one: Registered) -> dict[str, str | int]:
    hook = f"blocks.{one.which['layer']}.{_LLAMA_HOOKS[one.which['position']]}"
    d_in = width_of(one.source, "residual")
    config = {
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.5,
        "hook_point_in": hook,
        "hook_point_out": hook,
        "d_model": d_in,
        "d_sae": d_in * one.which["expansion"],
        "expansion_factor": one.which["expansion"],
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 9.0, "out": 9.0},
        "sparsity_include_decoder_norm": True,
        "use_decoder_bias": True,
        "use_glu_encoder": False,
        "apply_decoder_bias_to_pre_encoder": False,
        "dtype": "torch.bfloat16",
    }
    return {
        f"{one.path}/checkpoints/final.safetensors": 10**9,
        f"{one.path}/hyperparams.json": json.dumps(config),
    }


def _llamascopium(one: Registered) -> dict[str, str | int]:
    (layer,) = re.findall(r"/L(\d+)R", one.path)
    hook = f"blocks.{layer}.hook_resid_post"
    config = {
        "sae_type": "sae",
        "act_fn": "jumprelu",
        "hook_point_in": hook,
        "hook_point_out": hook,
        "d_model": width_of(one.source, "residual"),
        "expansion_factor": 8,
        "norm_activation": "dataset-wise",
        "sparsity_include_decoder_norm": True,
        "use_decoder_bias": True,
        "use_glu_encoder": False,
    }
    return {f"{one.path}/sae_weights.safetensors": 10**9, f"{one.path}/config.json": json.dumps(config)}


def _sae_lens(one: Registered) -> dict[str, str | int]:
    """As versions before 6 wrote GPT-2's."""
    layer = int(re.findall(r"(?:blocks\.|layer_)(\d+)", one.path)[0])
    sizes = {"d_in": width_of(one.source, "residual"), "model_name": "gpt2-small", "dtype": "torch.float32"}
    if "OAI-v5" not in one.source:
        about = {"hook_point": one.path, "hook_point_layer": layer, "hook_point_head_index": None, "d_sae": 24_576}
    else:
        site = re.findall(r"-\d+k-(\w+)-(\w+)-SAEs", one.source)[0]
        about = {
            "architecture": "standard",
            "d_sae": features_of(one.path.split("_")[1]),
            "hook_head_index": None,
            "hook_name": f"blocks.{layer}.hook_{'_'.join(site)}",
            "hook_layer": layer,
            "activation_fn_str": "topk",
            "activation_fn_kwargs": {"k": 32},
            "normalize_activations": "layer_norm",
        }
    return {f"{one.path}/sae_weights.safetensors": 10**9, f"{one.path}/cfg.json": json.dumps({**about, **sizes})}


_WRITERS: dict[str, Callable[[Registered], dict[str, str | int]]] = {
    "gemma_2": _gemma_scope,
    "gemma_2_transcoder": _gemma_scope,
    "gemma_3": _gemma_scope_2,
    "qwen_scope": _qwen_scope,
    "mwhanna_transcoder": _circuit_tracer,
    "sae_lens": _sae_lens,
    "llama_scope": _llama_scope,
    "llama_scope_r1_distill": _llamascopium,
}


@cache
def _by_source() -> dict[str, list[Registered]]:
    found = defaultdict(list)
    for one in registered():
        found[one.source].append(one)
    return found


def _of(source: str) -> list[Registered]:
    return _by_source().get(source, [])


@cache
def _files(repository: str) -> dict[str, str | int]:
    """Small files of a repository with what they hold, and large ones with their sizes; nothing if there is none."""
    if repository in CONFIGS:
        config = CONFIGS[repository]
        bos = {"tokenizer_config.json": '{"bos_token": null}'} if "Qwen" in repository else {}
        return {"config.json": json.dumps(config), _WEIGHTS: 10**9, **bos}
    return {path: held for one in _of(repository) for path, held in _WRITERS[one.loader](one).items()}


@cache
def _header(model: str) -> bytes:
    """What stands at the beginning of a model's weights."""
    with torch.device("meta"):
        parameters = AutoModelForCausalLM.from_config(AutoConfig.for_model(**CONFIGS[model])).named_parameters()
    said = {name: {"dtype": "BF16", "shape": list(one.shape), "data_offsets": [0, 0]} for name, one in parameters}
    header = json.dumps(said).encode()
    return len(header).to_bytes(8, "little") + header


def _size(d_in: int, d_sae: int) -> int:
    """Of a file of a JumpReLU SAE, with what an archive or a header adds."""
    return 4 * (2 * d_in * d_sae + 2 * d_sae + d_in) + 1500


def hub(environ: dict[str, str], start: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """The hub, as an application of WSGI."""
    path, method = unquote(environ["PATH_INFO"]), environ["REQUEST_METHOD"]

    def answer(status: str, body: bytes, size: int | None = None, **headers: str) -> list[bytes]:
        length = str(len(body) if size is None else size)
        # As git names what a file holds.
        etag = hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
        given = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Content-Length": length, **headers}
        start(status, [(name.replace("_", "-"), value) for name, value in given.items()])
        return [] if method == "HEAD" else [body]

    missing = {"X_Error_Code": "EntryNotFound"}
    if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(tree|revision)/[^/]+)?", path):
        files = _files(match[1])
        size = {name: held if isinstance(held, int) else len(held) for name, held in files.items()}
        if match[2] == "tree":
            listed: object = [{"type": "file", "oid": "0", "path": name, "size": size[name]} for name in files]
        else:
            siblings = [{"rfilename": name, "size": size[name]} for name in files]
            listed = {"id": match[1], "sha": COMMIT, "siblings": siblings}
        return answer("200 OK", json.dumps(listed).encode(), Content_Type="application/json")
    match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
    held = None if match is None else _files(match[1]).get(match[2])
    if match is None or held is None:
        return answer("404 Not Found", b"", **missing)
    if isinstance(held, str):
        return answer("200 OK", held.encode())
    if method == "HEAD":
        return answer("200 OK", b"", size=held)
    if match[2] == _WEIGHTS and "HTTP_RANGE" in environ:
        return answer("206 Partial Content", _header(match[1]))
    return answer("403 Forbidden", b"")
