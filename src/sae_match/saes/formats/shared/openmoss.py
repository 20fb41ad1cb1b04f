"""What OpenMOSS's layouts, the first and that of today, have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_match.errors import UserError, shown
from sae_match.saes.formats.shared.kinds import refuse_transcoder
from sae_match.saes.formats.shared.reading import tensor, truth

#: Keys of what an SAE reads and what it writes.
HOOKS = ("hook_point_in", "hook_point_out")
_SCALED, _AS_THEY_ARE = "dataset-wise", ("inference", "none")


def refuse_other_openmoss(file: Path, config: Mapping[str, Any], activations: Sequence[str]) -> None:
    """Check that a config is of an SAE that acts on raw activations, but for a factor that is the same for all tokens.

    Args:
        file: Where the config comes from.
        config: The config.
        activations: What its layout's SAEs may have; `jumprelu` where the config does not say it.

    Raises:
        UserError: If it is of anything else, or of a transcoder.
    """
    if config.get("sae_type", "sae") != "sae":
        raise UserError(f"{file}: sae_type must be 'sae', got {shown(config['sae_type'])}")
    kind, norm = activation_of(config), config.get("norm_activation", _SCALED)
    if kind not in activations:
        one = "be" if len(activations) == 1 else "be one of"
        raise UserError(f"{file}: act_fn must {one} {', '.join(map(repr, activations))}, got {shown(kind)}")
    if truth(file, config, "use_glu_encoder"):
        raise UserError(f"{file}: the encoder has a gated linear unit, which no SAE here can have")
    if norm not in (_SCALED, *_AS_THEY_ARE):
        raise UserError(
            f"{file}: norm_activation is {shown(norm)}; only a factor that is the same for all tokens can be folded in"
        )
    refuse_transcoder(file, *(config.get(key) for key in HOOKS))


def activation_of(config: Mapping[str, Any]) -> Any:
    """What a config calls the activation."""
    return config.get("act_fn", "jumprelu")


def is_scaled(config: Mapping[str, Any]) -> bool:
    """Whether activations were scaled before the encoder, by one factor for all tokens."""
    return bool(config.get("norm_activation", _SCALED) == _SCALED)


def decoder_bias(
    file: Path, tensors: Mapping[str, Tensor], name: str, config_file: Path, config: Mapping[str, Any], W_dec: Tensor
) -> Tensor:
    """The decoder's bias; zeros where the config says that there is none.

    Args:
        file: Where the tensors come from.
        tensors: All of them.
        name: Of the bias.
        config_file: Where the config comes from.
        config: The config.
        W_dec: The decoder, `[d_sae, d_in]`.

    Raises:
        UserError: If it is said to be there, and is not.
    """
    if truth(config_file, config, "use_decoder_bias", default=True):
        return tensor(file, tensors, name)
    return W_dec.new_zeros(W_dec.shape[1:])


def single_or_better(dtype: torch.dtype) -> torch.dtype:
    """What an SAE of tensors of a dtype is computed in: a threshold rounded any further would be another one."""
    return torch.promote_types(dtype, torch.float32)
