"""The arms: everything that can stand in for the residual `x_t` of a target layer (`method.md`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from jaxtyping import Float
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
        matching: Which target feature each source feature becomes.
        W_dec: For each source feature, the target's decoder row that it decodes through, times the
            factor between the two features' units; zero where there is no partner. Values that
            meet in one target feature add up, because decoding is linear.
    """

    matching: Matching
    W_dec: Float[Tensor, "n_source d_in"]

    @classmethod
    def between(cls, source: SAE, target: SAE, matching: Matching, fold: Fold) -> "Transport":
        """Transport under a folding.

        A folded matching works on folded SAEs on both sides: a value is divided by the source
        feature's scale and multiplied by the target feature's. With `fold="none"` it is carried as
        it is.
        """
        permutation = matching.permutation.to(source.W_dec.device)
        partner = permutation.clamp_min(0)
        factor = folding_scale(target, fold)[partner] / folding_scale(source, fold)
        return cls(matching, target.W_dec[partner] * (factor * (permutation >= 0))[:, None])


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
    return f_source @ transports[arm].W_dec + target.b_dec


def checked_arms(names: list[str]) -> list[str]:
    """The asked-for arms in table order.

    Raises:
        UserError: If one does not exist; the message offers the nearest.
    """
    for name in names:
        if name not in ARMS:
            near = get_close_matches(name, ARMS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"unknown arm {name!r}{hint} There are {', '.join(ARMS)}")
    return [arm for arm in ARMS if arm in names]
