"""Llama Scope's layout: `Llama3_1-8B-Base-L{i}R-8x/` with `hyperparams.json` and `checkpoints/final.safetensors`.

It was trained on activations whose mean norm is `sqrt(d_model)`. As in OpenMOSS's own code the thresholds
are for features in the units of raw activations, times their decoder norms.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sae_match.errors import UserError
from sae_match.saes.formats.shared.building import (
    build,
    in_units_of_decoder_norm,
    on_shifted_input,
    refuse_contradiction,
)
from sae_match.saes.formats.shared.describing import SAEDescription, described_by
from sae_match.saes.formats.shared.hub import fetch
from sae_match.saes.formats.shared.kinds import refuse_factors, refuse_other_names
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.openmoss import (
    decoder_bias,
    is_scaled,
    refuse_other_openmoss,
    single_or_better,
)
from sae_match.saes.formats.shared.places import Said, agreed_place, said_by_hook
from sae_match.saes.formats.shared.reading import (
    matrix,
    number,
    read_json,
    read_safetensors,
    section,
    stated,
    tensor,
    truth,
)
from sae_match.saes.sae import SAE

LAYOUT = Layout(
    r"Llama3_1-8B-Base-L(?P<layer>\d+)(?P<position>[RMA])-(?P<expansion>\d+)x/checkpoints/final\.safetensors",
    ("../hyperparams.json",),
    "Llama3_1-8B-Base-L3R-8x/checkpoints/final.safetensors",
)
_TENSORS = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
# Of each feature; OpenMOSS's own code once kept them beside the weights.
_FACTORS = ("feature_act_mask", "feature_act_scale")
_POSITIONS = {"R": "residual", "M": "MLP", "A": "attention"}
_HOOKS = {"R": "hook_resid_post", "M": "hook_mlp_out", "A": "hook_attn_out"}


def load(source: str, *, layer: int, position: str = "R", expansion: int = 8, revision: str | None = None) -> SAE:
    """Load one SAE from a folder or a hub repository in Llama Scope's layout.

    Args:
        source: A folder, or a repository such as `fnlp/Llama3_1-8B-Base-LXR-8x`.
        layer: Decoder layer that the SAE belongs to.
        position: `R` for the residual after the layer, `M` for its MLP's output, `A` for its attention's.
        expansion: Features for each dimension, 8 or 32.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such SAE, a file is not sound, config and tensors contradict each
            other, or the config says something that cannot be folded into an `SAE`.
    """
    config_path, weights_path = paths(layer=layer, position=position, expansion=expansion)
    config_file = fetch(source, config_path, revision)
    config = read_json(config_file)
    refuse_other_openmoss(config_file, config, ("jumprelu",))
    agreed_place(layer, _said(config_file, config, layer, position))
    file = fetch(source, weights_path, revision)
    tensors = refuse_factors(file, read_safetensors(file), _FACTORS)
    refuse_other_names(file, tensors, _TENSORS)
    W_dec = matrix(file, tensors, "decoder.weight").T
    sae = build(
        file,
        W_enc=matrix(file, tensors, "encoder.weight").T,
        b_enc=tensor(file, tensors, "encoder.bias"),
        W_dec=W_dec,
        b_dec=decoder_bias(file, tensors, "decoder.bias", config_file, config, W_dec),
        threshold=torch.tensor(number(config_file, config, "jump_relu_threshold"), dtype=single_or_better(W_dec.dtype)),
    )
    sizes = {ours: stated(config_file, config, key) for ours, key in (("d_in", "d_model"), ("d_sae", "d_sae"))}
    refuse_contradiction(config_file, sae, **sizes)
    if truth(config_file, config, "apply_decoder_bias_to_pre_encoder"):
        sae = on_shifted_input(sae)
    sae = _in_raw_units(sae, config_file, config)
    return in_units_of_decoder_norm(sae) if truth(config_file, config, "sparsity_include_decoder_norm") else sae


def describe(source: str, *, layer: int, position: str, expansion: int, revision: str | None) -> SAEDescription:
    """What the SAE is, by its config; arguments as for `load`."""
    file = fetch(source, paths(layer=layer, position=position, expansion=expansion)[0], revision)
    config = read_json(file)
    place = agreed_place(layer, _said(file, config, layer, position))
    return described_by(file, config, d_in="d_model", d_sae="d_sae", hook=place)


def paths(*, layer: int, position: str, expansion: int) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    if position not in _POSITIONS:
        known = ", ".join(f"{letter} ({name})" for letter, name in _POSITIONS.items())
        raise UserError(f"position of a Llama Scope SAE is one of {known}, got {position!r}")
    folder = f"Llama3_1-8B-Base-L{layer}{position}-{expansion}x"
    return [f"{folder}/hyperparams.json", f"{folder}/checkpoints/final.safetensors"]


def _said(file: Path, config: dict[str, Any], layer: int, position: str) -> list[Said]:
    """What config and folder say of the place that the SAE reads."""
    by_position = said_by_hook(f"position {position}", f"blocks.{layer}.{_HOOKS[position]}")
    return [*said_by_hook(file, config.get("hook_point_in")), *by_position]


def _in_raw_units(sae: SAE, file: Path, config: dict[str, Any]) -> SAE:
    """The SAE of raw activations, features and all; its thresholds are in these units already."""
    if not is_scaled(config):
        return sae
    norms = section(file, config, "dataset_average_activation_norm")
    root = math.sqrt(sae.d_in)
    scale_in = root / _positive(file, norms, "in")
    scale_out = root / _positive(file, norms, "out") if "out" in norms else scale_in
    return replace(
        sae, b_enc=sae.b_enc / scale_in, W_dec=sae.W_dec * (scale_in / scale_out), b_dec=sae.b_dec / scale_out
    )


def _positive(file: Path, norms: dict[str, Any], key: str) -> float:
    norm = number(file, norms, key)
    if not 0 < norm < math.inf:
        raise UserError(f"{file}: dataset_average_activation_norm.{key} must be positive and finite, got {norm}")
    return norm
