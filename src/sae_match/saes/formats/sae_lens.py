"""SAELens' layout: a folder with `cfg.json` and `sae_weights.safetensors`, of version 6 or before."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from sae_match.errors import UserError, shown
from sae_match.saes.formats.sae_lens_writing import save
from sae_match.saes.formats.shared.building import (
    build,
    build_gated,
    in_units_of_decoder_norm,
    on_centred_input,
    on_scaled_input,
    on_shifted_input,
    refuse_contradiction,
)
from sae_match.saes.formats.shared.describing import SAEDescription, described_by
from sae_match.saes.formats.shared.hub import fetch
from sae_match.saes.formats.shared.kinds import refuse_factors, refuse_other_names, refuse_transcoder
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.places import (
    Said,
    agreed_place,
    said_by_folder,
    said_by_hook,
    said_by_number,
)
from sae_match.saes.formats.shared.reading import (
    in_folder,
    matrix,
    read_json,
    read_safetensors,
    section,
    stated,
    tensor,
    truth,
    whole,
)
from sae_match.saes.sae import SAE, TRANSCODING, InputNorm, Transcoder, normalising

__all__ = ["LAYOUT", "describe", "load", "paths", "save"]

_CONFIG, _WEIGHTS = "cfg.json", "sae_weights.safetensors"
_MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")
_SKIP = "W_skip"
_GATED = ("W_enc", "b_gate", "r_mag", "b_mag", "W_dec", "b_dec")
# Of the output, of SAEs that were tuned after their training.
_FACTORS = ("scaling_factor", "finetuning_scaling_factor")
_TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
_WITHOUT_THRESHOLDS = ("standard", "topk", *_TRANSCODERS[:2])
# What happens to each token by numbers of its own, by its name there.
_PER_TOKEN: dict[str, InputNorm] = {"layer_norm": "layer_norm", "constant_norm_rescale": "constant_norm"}
LAYOUT = Layout(r"(?P<path>(?:.*/)?)sae_weights\.safetensors", ("cfg.json",), "layer_3/sae_weights.safetensors")


def load(
    source: str,
    *,
    layer: int,
    path: str = ".",
    revision: str | None = None,
    centre_input: bool = False,
    norm_scaling_factor: float | None = None,
    input_norm: str | None = None,
) -> SAE:
    """Load one SAE or transcoder that SAELens saved: standard, JumpReLU, TopK, BatchTopK or gated.

    Args:
        source: A folder or a hub repository.
        layer: Decoder layer that the SAE belongs to.
        path: The SAE's folder inside the source, with `{layer}` where the layer's number goes; `.` if
            the source is that folder.
        revision: Commit, tag or branch of the repository.
        centre_input: Whether the SAE was trained on activations less the mean of their components, as
            TransformerLens makes them of GPT-2, whose layers read nothing else. What is reconstructed is
            then the activation without that mean.
        norm_scaling_factor: What activations were multiplied by in training; for SAEs whose config says
            `normalize_activations: expected_average_only_in`, where it is not written down.
        input_norm: `layer_norm` or `constant_norm`, where an SAE was trained on activations that were normalised token
            by token and its config does not say so.

    Raises:
        UserError: If there is no such SAE, a file is not sound, config and tensors contradict each
            other, or the SAE cannot be expressed exactly on raw activations.
    """
    config_path, weights_path = paths(layer=layer, path=path)
    config_file = fetch(source, config_path, revision)
    config = _without_versions(config_file, read_json(config_file))
    if input_norm is not None:
        config["normalize_activations"] = _spelt(input_norm)
    _refuse_inexpressible(config_file, config, norm_scaling_factor)
    agreed_place(layer, _said(source, config_path, config_file, config))
    file = fetch(source, weights_path, revision)
    tensors = refuse_factors(file, read_safetensors(file), _FACTORS)
    architecture = _architecture(config_file, config)
    sae = architecture.build(file, tensors, config_file, config)
    refuse_other_names(file, tensors, architecture.tensors)
    sizes = {key: stated(config_file, config, key) for key in ("d_in", "d_sae")}
    refuse_contradiction(config_file, sae, **sizes)
    sae = replace(sae, input_norm=_PER_TOKEN.get(config.get("normalize_activations") or "none", "none"))
    if truth(config_file, config, "rescale_acts_by_decoder_norm"):
        sae = in_units_of_decoder_norm(sae)
    if truth(config_file, config, "apply_b_dec_to_input", default=not isinstance(sae, Transcoder)):
        sae = on_shifted_input(sae)
    if norm_scaling_factor is not None:
        sae = on_scaled_input(sae, norm_scaling_factor)
    return on_centred_input(sae) if centre_input else sae


def describe(
    source: str, *, layer: int, path: str, revision: str | None, input_norm: str | None = None
) -> SAEDescription:
    """What the SAE is, by its config; arguments as for `load`."""
    config_path = paths(layer=layer, path=path)[0]
    file = fetch(source, config_path, revision)
    config = _without_versions(file, read_json(file))
    place = agreed_place(layer, _said(source, config_path, file, config))
    said = described_by(file, config, d_in="d_in", d_sae="d_sae", hook=place)
    architecture = config.get("architecture", "standard")
    norm = input_norm or _PER_TOKEN.get(str(config.get("normalize_activations")))
    unmeasurable = TRANSCODING if architecture in _TRANSCODERS else None if norm is None else normalising(norm)
    return replace(said, has_thresholds=architecture not in _WITHOUT_THRESHOLDS, unmeasurable=unmeasurable)


def paths(*, layer: int, path: str) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    return [in_folder(path, layer, _CONFIG), in_folder(path, layer, _WEIGHTS)]


def _said(source: str, config_path: str, file: Path, config: dict[str, Any]) -> list[Said]:
    """What config and folder say of the place that the SAE reads."""
    numbers = [stated(file, config, key) for key in ("hook_layer", "hook_point_layer")]
    return [
        *said_by_hook(file, config.get("hook_name")),
        *(said for layer in numbers for said in said_by_number(file, layer)),
        *said_by_folder(source, config_path),
    ]


def _without_versions(file: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The config in one form, whichever version wrote it."""
    if "metadata" in config:
        return {**section(file, config, "metadata"), **config}
    renamed = {
        "hook_point": "hook_name",
        "hook_point_head_index": "hook_head_index",
        "activation_fn_str": "activation_fn",
    }
    flat = {renamed.get(key, key): value for key, value in config.items()}
    if flat.get("activation_fn") == "topk":
        flat |= {
            "architecture": "topk",
            "k": section(file, flat, "activation_fn_kwargs").get("k"),
            "activation_fn": "relu",
        }
    if isinstance(flat.get("normalize_activations"), bool):
        flat["normalize_activations"] = "expected_average_only_in" if flat["normalize_activations"] else "none"
    return flat


def _refuse_inexpressible(file: Path, config: dict[str, Any], factor: float | None) -> None:
    activation, architecture = config.get("activation_fn", "relu"), config.get("architecture")
    if activation not in ("relu", "topk"):
        raise UserError(f"{file}: activation_fn must be 'relu' or 'topk', got {shown(activation)}")
    if activation == "topk" and architecture != "topk":
        raise UserError(f"{file}: activation_fn 'topk' goes with architecture 'topk', got {shown(architecture)}")
    if architecture not in _TRANSCODERS:
        refuse_transcoder(file, config.get("hook_name"), config.get("hook_name_out"))
    if config.get("hook_head_index") is not None:
        raise UserError(f"{file}: the SAE reads one attention head only (hook_head_index), which is not supported")
    normalised = config.get("normalize_activations") or "none"
    if normalised not in ("none", "expected_average_only_in", *_PER_TOKEN):
        raise UserError(
            f"{file}: normalize_activations is {shown(normalised)}, which depends on each token and cannot be folded "
            "into an SAE on raw activations"
        )
    if normalised == "expected_average_only_in" and factor is None:
        raise UserError(
            f"{file}: normalize_activations is {shown(normalised)}, but the factor is not in the file; "
            "give it as norm_scaling_factor"
        )
    if factor is not None and not (normalised == "expected_average_only_in" and 0 < factor < float("inf")):
        raise UserError(
            f"{file}: norm_scaling_factor must be positive and finite and goes with normalize_activations "
            f"'expected_average_only_in', got {factor} with {shown(normalised)}"
        )


class _Architecture(NamedTuple):
    """How an SAE is made of tensors and config, and which tensors there may be."""

    build: Callable[[Path, dict[str, Tensor], Path, dict[str, Any]], SAE]
    tensors: tuple[str, ...]


def _architecture(file: Path, config: dict[str, Any]) -> _Architecture:
    jump_relu = _Architecture(_jump_relu, (*_MATRICES, "threshold", "topk_threshold"))
    known = {
        "standard": _Architecture(_standard, _MATRICES),
        "jumprelu": jump_relu,
        "topk": _Architecture(_top_k, _MATRICES),
        "batchtopk": jump_relu,
        "matryoshka_batchtopk": jump_relu,
        "gated": _Architecture(_gated, _GATED),
        "transcoder": _Architecture(_transcoder, _MATRICES),
        "skip_transcoder": _Architecture(_transcoder, (*_MATRICES, _SKIP)),
        "jumprelu_transcoder": _Architecture(_transcoder, (*_MATRICES, "threshold")),
        "jumprelu_skip_transcoder": _Architecture(_transcoder, (*_MATRICES, "threshold", _SKIP)),
    }
    name = config.get("architecture", "standard")
    if not isinstance(name, str) or name not in known:
        raise UserError(f"{file}: architecture must be one of {', '.join(known)}, got {shown(name)}")
    return known[name]


def _standard(file: Path, tensors: dict[str, Tensor], config_file: Path, _: dict[str, Any]) -> SAE:
    if "threshold" in tensors:
        raise UserError(f"{config_file}: architecture is 'standard', but {file.name} holds a threshold")
    return build(file, **_matrices(file, tensors), activation="relu")


def _jump_relu(file: Path, tensors: dict[str, Tensor], *_: Any) -> SAE:
    # A BatchTopK SAE in training keeps one threshold for all features under a name of its own.
    name = "topk_threshold" if "topk_threshold" in tensors and "threshold" not in tensors else "threshold"
    return build(file, **_matrices(file, tensors), threshold=tensor(file, tensors, name))


def _top_k(file: Path, tensors: dict[str, Tensor], config_file: Path, config: dict[str, Any]) -> SAE:
    return build(file, **_matrices(file, tensors), activation="topk", k=whole(config_file, config, "k"))


def _gated(file: Path, tensors: dict[str, Tensor], *_: Any) -> SAE:
    return build_gated(file, **{name: tensor(file, tensors, name) for name in _GATED})


def _transcoder(file: Path, tensors: dict[str, Tensor], _: Path, config: dict[str, Any]) -> SAE:
    kind = str(config["architecture"])
    return build(
        file,
        **_matrices(file, tensors),
        threshold=tensor(file, tensors, "threshold") if kind.startswith("jumprelu") else None,
        activation="jumprelu" if kind.startswith("jumprelu") else "relu",
        transcoder=True,
        W_skip=matrix(file, tensors, _SKIP).T if "skip" in kind else None,
    )


def _spelt(norm: str) -> str:
    names = {str(ours): theirs for theirs, ours in _PER_TOKEN.items()}
    if norm not in names:
        raise UserError(f"input_norm must be one of {', '.join(names)}, got {shown(norm)}")
    return names[norm]


def _matrices(file: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: tensor(file, tensors, name) for name in _MATRICES}
