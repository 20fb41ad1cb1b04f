"""Feature values carried from a source SAE to a target SAE (Eq. 5), and decoded.

Of thousands of features some dozens are active on a token: values are lists of those, and a token is decoded by adding
up their rows, in a hundredth of the time of a product with the whole decoder.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from sae_match.errors import UserError
from sae_match.matching.result import Matching
from sae_match.saes.folding import Fold, folding_scale
from sae_match.saes.sae import SAE


@dataclass(frozen=True)
class ActiveValues:
    """Values of the features that are active, token by token.

    Attributes:
        feature: Feature of each entry.
        value: What it is.
        starts: Where the entries of each token begin, and where the last one's end.
    """

    feature: Int64[Tensor, " entries"]
    value: Float[Tensor, " entries"]
    starts: Int64[Tensor, " tokens_and_one"]

    @classmethod
    def listed(
        cls,
        f: Float[Tensor, "tokens features"],
        token: Int64[Tensor, " entries"],
        feature: Int64[Tensor, " entries"],
    ) -> "ActiveValues":
        """Values by the places of those that are not zero, in the order of tokens."""
        tokens = torch.arange(len(f) + 1, device=f.device)
        return cls(feature, f[token, feature], torch.searchsorted(token, tokens))

    @classmethod
    def of(cls, f: Float[Tensor, "tokens features"]) -> "ActiveValues":
        """Values that are not zero, found here; the host waits for how many there are."""
        return cls.listed(f, *f.nonzero(as_tuple=True))

    def times(self, factor: Shaped[Tensor, " features"]) -> "ActiveValues":
        """Each value times its feature's factor, a number or whether it counts."""
        return replace(self, value=self.value * factor[self.feature])

    def through(self, rows: Float[Tensor, "features d"]) -> Float[Tensor, "tokens d"]:
        """Each token's values times the rows of their features, added up."""
        return nn.functional.embedding_bag(
            self.feature, rows, self.starts, mode="sum", per_sample_weights=self.value, include_last_offset=True
        )


def reconstructed(sae: SAE, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"]:
    """What an SAE makes of activations."""
    if x.device.type != "cpu":
        # To wait for how many features are active would take longer.
        return sae(x)
    return ActiveValues.of(sae.encode(x)).through(sae.W_dec) + sae.b_dec


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

    def __call__(self, f: ActiveValues) -> ActiveValues:
        """Source values as target values; a target feature may have several, which add up."""
        # The factor of a feature without a partner is zero.
        return replace(f.times(self.factor), feature=self.permutation.clamp_min(0)[f.feature])

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
