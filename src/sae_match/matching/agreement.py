"""How far a chain of matchings between neighbours agrees with matching its two ends directly."""

import math
from dataclasses import dataclass, replace
from typing import cast

from sae_match.errors import UserError
from sae_match.matching.composition import compose
from sae_match.matching.cost import Metric, feature_vectors, term_weights
from sae_match.matching.pair_costs import pair_costs
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.folding import Fold
from sae_match.saes.sae import SAE


@dataclass(frozen=True)
class Agreement:
    """Two matchings of the same SAEs compared, over the source features that both give a partner.

    Attributes:
        agreement: Fraction of them with the same partner in both; nan where there are none.
        cost_ratio: Cost of the composed pairs over cost of the direct ones; nan where there are none.
        features: How many there are.
    """

    agreement: float
    cost_ratio: float
    features: int


def priced(matching: Matching, source: SAE, target: SAE, settings: MatcherSettings) -> Matching:
    """Any matching of two SAEs with the costs that its pairs have under the settings.

    Nothing is proven about them: the lower bound is minus infinity.

    Raises:
        UserError: If the matching is not of SAEs of these widths, or the SAEs do not fit each other,
            cannot be folded, or are not finite.
    """
    if source.d_in != target.d_in:
        raise UserError(f"the source reads activations of width {source.d_in}, the target of width {target.d_in}")
    permutation = matching.permutation
    if len(permutation) != source.d_sae or int(permutation.max()) >= target.d_sae:
        raise UserError(
            f"a matching of {len(permutation)} features that leads to feature {int(permutation.max())} "
            f"does not go with SAEs of {source.d_sae} and {target.d_sae} features"
        )
    sides = [
        feature_vectors(
            sae,
            fold=cast(Fold, settings.fold),
            terms=term_weights(settings.terms),
            metric=cast(Metric, settings.metric),
        )
        for sae in (source, target)
    ]
    costs = pair_costs(sides[0], sides[1], permutation.to(sides[0].factors[0].device))
    return replace(matching, pair_cost=costs, lower_bound=-math.inf)


def compare(composed: Matching, direct: Matching) -> Agreement:
    """Compare a composed matching with the direct one of the same two SAEs, both with known costs.

    Raises:
        UserError: If they start from different numbers of features.
    """
    if len(composed.permutation) != len(direct.permutation):
        raise UserError(
            f"matchings of {len(composed.permutation)} and of {len(direct.permutation)} features cannot be compared"
        )
    both = (composed.permutation >= 0) & (direct.permutation >= 0)
    features = int(both.sum())
    if features == 0:
        return Agreement(math.nan, math.nan, 0)
    equal = int((composed.permutation == direct.permutation)[both].sum())
    costs = [math.fsum(matching.pair_cost[both].tolist()) for matching in (composed, direct)]
    return Agreement(equal / features, _ratio(*costs), features)


class Chains:
    """Where the chains of neighbours lead, from all layers before, for one target layer after another.

    Only the chains into the present target are held: one matching for each layer before it.
    """

    def __init__(self) -> None:
        self.target: int | None = None
        self._into: dict[int, Matching] = {}

    def __contains__(self, pair: tuple[int, int]) -> bool:
        """Whether the present target has been reached from that layer."""
        return pair[1] == self.target and pair[0] in self._into

    def __getitem__(self, pair: tuple[int, int]) -> Matching:
        """The composed matching between two layers, the second being the present target; of unknown cost."""
        if pair not in self:
            raise KeyError(f"no chain from layer {pair[0]} to layer {pair[1]}; the last target is {self.target}")
        return self._into[pair[0]]

    def extend(self, neighbours: tuple[int, int], matching: Matching) -> None:
        """Go on to the next target layer from the present one, or begin.

        Raises:
            UserError: If the neighbours do not start at the present target, or the matching does not
                start from its SAE.
        """
        if self.target not in (None, neighbours[0]):
            raise UserError(f"the chains have reached layer {self.target}, they cannot go on from {neighbours[0]}")
        into = {start: compose(chain, matching) for start, chain in self._into.items()}
        self._into = {**into, neighbours[0]: matching}
        self.target = neighbours[1]


def _ratio(composed: float, direct: float) -> float:
    if direct == 0:
        return 1.0 if composed == 0 else math.inf
    return composed / direct
