"""The arms: everything that can stand in for the residual `x_t` of a target layer (`method.md`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.matching import Matching
from sae_match.saes.folding import Fold, folding_scale
from sae_match.saes.sae import SAE

CLEAN = "clean"
LAYER_DROP = "layer_drop"
RECONSTRUCT_TARGET = "reconstruct_target"
RECONSTRUCT_SOURCE = "reconstruct_source"
MATCHED = "matched"
MATCHED_UNFOLDED = "matched_unfolded"
IDENTITY = "identity"
RANDOM = "random"

#: Arms that send features through a matching, and can be asked for a matching score.
MATCHING_ARMS = (MATCHED, MATCHED_UNFOLDED, IDENTITY, RANDOM)
#: Every arm that stands in for a residual, in the order in which tables show them.
ARMS = (RECONSTRUCT_TARGET, RECONSTRUCT_SOURCE, LAYER_DROP, *MATCHING_ARMS)


@dataclass(frozen=True)
class Transport:
    """A matching made ready to carry feature values from a source SAE to a target SAE (Eq. 5).

    Attributes:
        permutation: Which target feature each source feature becomes, on the device of the SAEs.
        factor: What each source feature's value is multiplied by on the way; zero where there is no
            partner.
    """

    permutation: Int64[Tensor, " n_source"]
    factor: Float[Tensor, " n_source"]

    @classmethod
    def between(cls, source: SAE, target: SAE, matching: Matching, fold: Fold) -> "Transport":
        """Transport under a folding.

        A folded matching works on folded SAEs on both sides: a value is divided by the source
        feature's scale and multiplied by the target feature's. With `fold="none"` it is carried as
        it is.

        Raises:
            UserError: If two scales are so far apart that their ratio leaves the range of the dtype.
        """
        permutation = matching.permutation.to(source.W_dec.device)
        paired, partner = permutation >= 0, permutation.clamp_min(0)
        factor = folding_scale(target, fold).double()[partner] / folding_scale(source, fold).double()
        carried = torch.where(paired, factor, 0).to(target.W_dec.dtype)
        lost = ~torch.isfinite(carried)
        if lost.any():
            feature = int(lost.nonzero()[0])
            raise UserError(
                f"source feature {feature} cannot be carried to target feature {int(partner[feature])}: the ratio of "
                f"their scales is {float(factor[feature]):.3g}"
            )
        return cls(permutation, carried)

    def __call__(self, f: Float[Tensor, "*batch n_source"], n_target: int) -> Float[Tensor, "*batch n_target"]:
        """Source values as target values; those that meet in one target feature add up."""
        sent = f.new_zeros(*f.shape[:-1], n_target)
        return sent.index_add_(-1, self.permutation.clamp_min(0), f * self.factor)


def stand_in(
    arm: str,
    x_source: Float[Tensor, "*batch d_in"],
    f_source: Float[Tensor, "*batch n_source"],
    f_target: Float[Tensor, "*batch n_target"],
    source: SAE,
    target: SAE,
    transports: Mapping[str, Transport],
) -> Float[Tensor, "*batch d_in"]:
    """What an arm puts in place of `x_t`.

    Args:
        arm: One of `ARMS`.
        x_source: True residual of the source layer.
        f_source: Source features of `x_source`.
        f_target: Target features of the true `x_t`.
        source: SAE of the source layer.
        target: SAE of the target layer.
        transports: For each matching arm, its transport.
    """
    if arm == LAYER_DROP:
        return x_source
    if arm == RECONSTRUCT_TARGET:
        return target.decode(f_target)
    if arm == RECONSTRUCT_SOURCE:
        return source.decode(f_source)
    return target.decode(transports[arm](f_source, target.d_sae))


def checked_arms(names: list[str]) -> list[str]:
    """The asked-for arms in table order.

    Raises:
        UserError: If one does not exist; the message offers the nearest.
    """
    for name in names:
        if name not in ARMS:
            near = get_close_matches(name, ARMS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"unknown arm {name!r}; {hint}There are {', '.join(ARMS)} ({CLEAN} is always there)")
    if not names:
        raise UserError(f"evaluation.arms is empty; choose among {', '.join(ARMS)}")
    return [arm for arm in ARMS if arm in names]
