"""OpenMOSS's layout of today and of Llama Scope R1-Distill: `config.json` and `sae_weights.safetensors`."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from sae_match.errors import UserError
from sae_match.saes.formats.shared.building import (
    build,
    in_units_of_decoder_norm,
    on_scaled_input,
    refuse_contradiction,
)
from sae_match.saes.formats.shared.describing import SAEDescription, described_by
from sae_match.saes.formats.shared.hub import fetch
from sae_match.saes.formats.shared.kinds import refuse_other_names
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.openmoss import (
    HOOKS,
    activation_of,
    decoder_bias,
    is_scaled,
    refuse_other_openmoss,
    single_or_better,
)
from sae_match.saes.formats.shared.places import Said, agreed_place, said_by_folder, said_by_hook
from sae_match.saes.formats.shared.reading import (
    in_folder,
    matrix,
    read_json,
    read_safetensors,
    stated,
    tensor,
    truth,
    whole,
)
from sae_match.saes.sae import SAE

LAYOUT = Layout(r"(?P<path>(?:.*/)?)sae_weights\.safetensors", ("config.json",), "L3R/sae_weights.safetensors")
# W_enc, b_enc, W_dec, b_dec: as they are today, and as torch's linear layers held them before.
_TODAY = ("W_E", "b_E", "W_D", "b_D")
_LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
_THRESHOLD, _NORM = "log_jumprelu_threshold", "dataset_average_activation_norm."
_ACTIVATIONS = ("jumprelu", "relu", "topk")


def load(
    source: str,
    *,
    layer: int,
    path: str = "L{layer}R",
    norm_scaling_factor: float | None = None,
    revision: str | None = None,
) -> SAE:
    """Load one SAE that OpenMOSS's code wrote: JumpReLU, ReLU or TopK.

    Args:
        source: A folder, or a repository such as `fnlp/Llama-Scope-R1-Distill`.
        layer: Decoder layer that the SAE belongs to.
        path: The SAE's folder inside the source, with `{layer}` where the layer's number goes, such as
            `0-Slimpajama-800M-OpenR1-Math-220k/L{layer}R`; `.` if the source is that folder.
        norm_scaling_factor: What activations were multiplied by in training, where the file does not say their norm.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such SAE, a file is not sound, config and tensors contradict each other, or the SAE
            cannot be expressed exactly on raw activations.
    """
    config_path, weights_path = paths(layer=layer, path=path)
    config_file = fetch(source, config_path, revision)
    config = read_json(config_file)
    refuse_other_openmoss(config_file, config, _ACTIVATIONS)
    agreed_place(layer, _said(source, config_path, config_file, config))
    file = fetch(source, weights_path, revision)
    tensors = read_safetensors(file)
    norms = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_NORM)}
    sae = _built(file, tensors, config_file, config)
    refuse_contradiction(config_file, sae, **_sizes(config_file, config))
    if truth(config_file, config, "sparsity_include_decoder_norm"):
        sae = in_units_of_decoder_norm(sae)
    scales = _scales(config_file, config, norms, sae.d_in, norm_scaling_factor)
    return sae if scales is None else on_scaled_input(sae, *scales)


def describe(source: str, *, layer: int, path: str, revision: str | None) -> SAEDescription:
    """What the SAE is, by its config; arguments as for `load`."""
    config_path = paths(layer=layer, path=path)[0]
    file = fetch(source, config_path, revision)
    config = read_json(file)
    place = agreed_place(layer, _said(source, config_path, file, config))
    said = described_by(file, config, d_in="d_model", d_sae="", hook=place)
    has_thresholds = activation_of(config) == "jumprelu"
    return replace(said, d_sae=_sizes(file, config)["d_sae"], has_thresholds=has_thresholds)


def paths(*, layer: int, path: str) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    return [in_folder(path, layer, name) for name in ("config.json", "sae_weights.safetensors")]


def _said(source: str, path: str, file: Path, config: dict[str, Any]) -> list[Said]:
    return [*said_by_hook(file, config.get("hook_point_in")), *said_by_folder(source, path)]


def _built(file: Path, tensors: dict[str, Tensor], config_file: Path, config: dict[str, Any]) -> SAE:
    names = _TODAY if _TODAY[0] in tensors else _LINEAR
    kind = activation_of(config)
    refuse_other_names(file, tensors, (*names, *([_THRESHOLD] if kind == "jumprelu" else [])))
    W_enc, W_dec = (matrix(file, tensors, name) for name in names[::2])
    if names is _LINEAR:
        W_enc, W_dec = W_enc.T, W_dec.T
    return build(
        file,
        W_enc=W_enc,
        b_enc=tensor(file, tensors, names[1]),
        W_dec=W_dec,
        b_dec=decoder_bias(file, tensors, names[3], config_file, config, W_dec),
        threshold=_exp(tensor(file, tensors, _THRESHOLD)) if kind == "jumprelu" else None,
        activation=kind,
        k=whole(config_file, config, "top_k") if kind == "topk" else None,
    )


def _scales(
    file: Path, config: dict[str, Any], norms: dict[str, Tensor], d_in: int, factor: float | None
) -> tuple[float, float] | None:
    """What activations were multiplied by before the encoder, and what the decoder's are to be divided by."""
    if not is_scaled(config):
        if factor is not None:
            raise UserError(
                f"{file}: norm_activation is {config['norm_activation']!r}; norm_scaling_factor goes with "
                "'dataset-wise'"
            )
        return None
    found = [factor] * 2 if factor is not None else [_scale(config.get(key), norms, d_in) for key in HOOKS]
    scales = [one for one in found if one is not None]
    if len(scales) < 2:
        raise UserError(
            f"{file}: activations were scaled, and their norm is not in the file; give the factor as "
            "norm_scaling_factor (the package sae-lens lists those of the published SAEs)"
        )
    if not all(0 < one < math.inf for one in scales):
        raise UserError(f"{file}: what activations were scaled by must be positive and finite, got {scales}")
    return scales[0], scales[1]


def _scale(hook: object, norms: dict[str, Tensor], d_in: int) -> float | None:
    norm = norms.get(f"{_NORM}{hook}")
    if norm is None or norm.numel() != 1 or not norm.is_floating_point() or float(norm) == 0:
        return None
    return math.sqrt(d_in) / float(norm)


def _exp(logarithms: Tensor) -> Tensor:
    """Thresholds of their logarithms, in single precision or better; what holds no fractions is refused later."""
    if not logarithms.is_floating_point():
        return logarithms
    return logarithms.to(single_or_better(logarithms.dtype)).exp()


def _sizes(file: Path, config: dict[str, Any]) -> dict[str, int | None]:
    d_in, d_sae, factor = (stated(file, config, key) for key in ("d_model", "d_sae", "expansion_factor"))
    return {"d_in": d_in, "d_sae": d_sae or (None if None in (d_in, factor) else (d_in or 0) * (factor or 0))}
