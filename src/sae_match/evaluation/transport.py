"""Feature values carried from a source SAE to a target SAE (Eq. 5)."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.result import Matching
from sae_match.saes.folding import Fold, folding_scale
from sae_match.saes.sae import SAE


@dataclass(frozen=True)
class Transport:
    """A matching made ready to carry feature values.

    Attributes:
        permutation: Which target feature each source feature becomes, -1 where there is none.
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
        reached = torch.zeros(target.d_sae, dtype=torch.bool, device=permutation.device)
        reached[permutation[paired]] = True
        # Features without a partner may be such as cannot be folded.
        scales = (folding_scale(target, fold, reached).double()[partner], folding_scale(source, fold, paired).double())
        factor = scales[0] / scales[1]
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

    def only(self, chosen: Bool[Tensor, " n_source"]) -> "Transport":
        """The transport that carries some of the features and drops the others."""
        return replace(self, factor=self.factor * chosen)

    def among(self, chosen: Bool[Tensor, " n_source"]) -> "Transport":
        """The transport in which the other features have no partner."""
        return replace(self.only(chosen), permutation=torch.where(chosen, self.permutation, -1))

    def to(self, device: torch.device) -> "Transport":
        """The same on another device."""
        return Transport(self.permutation.to(device), self.factor.to(device))


def cheapest(matching: Matching, quantile: float) -> Bool[Tensor, " n_source"]:
    """Source features whose pair costs no more than a quantile of all pairs' costs (Appendix B).

    Args:
        matching: With known costs.
        quantile: Between 0 and 1; 1 keeps every pair.
    """
    known = ~matching.pair_cost.isnan()
    if not known.any():
        return known
    # A rank, not an interpolation: a copied cost must not fall below itself by rounding.
    ranked = matching.pair_cost[known].sort().values
    bound = ranked[min(len(ranked) - 1, max(0, round(quantile * len(ranked)) - 1))]
    return known & (matching.pair_cost <= bound) if round(quantile * len(ranked)) else torch.zeros_like(known)
