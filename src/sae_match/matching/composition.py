"""Matchings one after another (section 3.2), and how far they agree with matching the two ends directly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.cost import Metric, feature_vectors, term_weights
from sae_match.matching.matching import MatcherSettings
from sae_match.matching.result import TARGET_FEATURES, Matching
from sae_match.matching.significance.rematching import settings_of
from sae_match.matching.solver.pair_costs import pair_costs
from sae_match.saes.folding import Fold, harmless_where_not
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch

# What a provenance says of how pairs are priced.
_HOW = ("fold", "terms", "metric")


@plain_torch()
def compose(
    first: Matching,
    second: Matching,
    *more: Matching,
    source: SAE | None = None,
    target: SAE | None = None,
    settings: MatcherSettings | None = None,
) -> Matching:
    """`second` after `first`, and so on: where the partner of a partner is.

    A feature that one of the matchings leaves alone has no partner. If one is not one-to-one, the result is not. Costs
    of the composed pairs are not known without the SAEs at the two ends: `pair_cost` is nan. With them it is what each
    pair costs by itself, as `match` counts; links add up to nothing. Nothing is proven of the result.

    Args:
        first: Of consecutive layers, in their order.
        second: It starts where `first` leads to.
        more: Each starts where the one before leads to.
        source: SAE that the first starts from; with the target, for costs.
        target: SAE that the last leads to.
        settings: How pairs are priced; by default as all matchings say that they were found.

    Raises:
        UserError: If a matching leads to features, or to an SAE, that the next does not start from; if only one SAE is
            given, or another one than the matchings'; or if they were found in different ways and no settings are
            given.
    """
    if (source is None) != (target is None):
        raise UserError("the cost of a composed pair takes both of its SAEs: give source= and target=")
    links = (first, second, *more)
    # Before any work.
    if source is not None:
        settings = settings or _settings_of_all(links)
    composed = first
    for link in links[1:]:
        composed = _after(composed, link)
    if source is None or target is None or settings is None:
        return composed
    for name, sae in (("source", source), ("target", target)):
        if composed.provenance.get(name, "") not in ("", sae.content_hash()):
            raise UserError(f"the {name} is not the SAE that the matchings are of: its content hash is another one")
    return priced(composed, source, target, settings)


def _after(first: Matching, second: Matching) -> Matching:
    """One matching after another."""
    if len(first.permutation) and int(first.permutation.max()) >= len(second.permutation):
        raise UserError(
            f"the first matching leads to feature {int(first.permutation.max())}, "
            f"the second starts from {len(second.permutation)} features"
        )
    if {"target"} <= first.provenance.keys() and {"source"} <= second.provenance.keys():
        _refuse_other_sae(first, second)
    unmatched = torch.full((1,), -1, dtype=torch.int64)
    permutation = torch.cat([second.permutation, unmatched])[first.permutation]
    ends = dict((*_end(first, "source"), *_end(second, "target"), *_end(second, TARGET_FEATURES)))
    alike = {name: value for name in _HOW for _, value in _end(first, name) if second.provenance.get(name) == value}
    return Matching(
        permutation,
        torch.full((len(permutation),), torch.nan, dtype=torch.float64),
        provenance={"solver": "composition", **ends, **alike},
        one_to_one=first.one_to_one and second.one_to_one,
    )


def _settings_of_all(links: Sequence[Matching]) -> MatcherSettings:
    """How all of some matchings were found, as far as it decides what a pair costs."""
    # A composed one says how its links were found.
    plain = [replace(link, provenance={**link.provenance, "solver": ""}) for link in links]
    found = [replace(settings_of(link), rejection_cost=None) for link in plain]
    if any(one != found[0] for one in found):
        raise UserError(
            "the matchings were found in different ways; say how pairs are priced: settings=MatcherSettings(…)"
        )
    return found[0]


@plain_torch()
def feature_paths(matchings: Sequence[Matching]) -> Int64[Tensor, "d_sae layers"]:
    """Where every feature of the first layer goes, layer by layer, -1 from where its path ends on.

    Args:
        matchings: Of consecutive layers, at least one.
    """
    if not matchings:
        raise UserError("a feature path needs at least one matching")
    reached = [matchings[0]]
    for matching in matchings[1:]:
        reached.append(compose(reached[-1], matching))
    start = torch.arange(len(matchings[0].permutation))
    return torch.stack([start, *(matching.permutation for matching in reached)], dim=1)


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


@plain_torch()
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
    reached = torch.zeros(target.d_sae, dtype=torch.bool)
    reached[permutation[permutation >= 0]] = True
    sides = [
        feature_vectors(
            # What has no pair has no cost, and need not be such as can be folded.
            harmless_where_not(sae, keep),
            fold=cast(Fold, settings.fold),
            terms=term_weights(settings.terms),
            metric=cast(Metric, settings.metric),
        )
        for sae, keep in ((source, permutation >= 0), (target, reached))
    ]
    costs = pair_costs(sides[0], sides[1], permutation.to(sides[0].factors[0].device))
    return replace(matching, pair_cost=costs, lower_bound=-math.inf)


def _refuse_other_sae(first: Matching, second: Matching) -> None:
    if first.provenance["target"] != second.provenance["source"]:
        raise UserError("the second matching does not start from the SAE that the first one leads to")


def _end(matching: Matching, key: str) -> list[tuple[str, str]]:
    return [(key, matching.provenance[key])] if key in matching.provenance else []


def _ratio(composed: float, direct: float) -> float:
    if direct == 0:
        return 1.0 if composed == 0 else math.inf
    return composed / direct
