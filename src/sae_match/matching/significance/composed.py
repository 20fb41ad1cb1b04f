"""Composed matchings against what chance makes of a chain: a composed pair is a match if every link is one."""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sae_match.errors import UserError, shown
from sae_match.matching.cache import MatchingCache
from sae_match.matching.composition import compose
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.nulls import NullTargets, rotation_seeds, written_and_read
from sae_match.matching.significance.rematching import Rematch, rematch
from sae_match.matching.significance.result import ALPHA, NullEvidence, Significance, judged, judged_by_worst
from sae_match.matching.significance.settings import Null, Statistic, refuse_impossible_counts, refuse_unknown
from sae_match.matching.significance.statistic import pair_statistic
from sae_match.matching.significance.values import q_values
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch

Links = Literal["each", "all"]


@plain_torch()
def composed_significance(
    saes: Sequence[SAE],
    matchings: Sequence[Matching],
    *,
    links: Links = "each",
    null: Null = "second_moment",
    rotations: int = 8,
    seed: int = 0,
    statistic: Statistic = "mean",
    settings: MatcherSettings | None = None,
    cache: MatchingCache | None = None,
) -> Significance:
    """Which pairs of the composition of matchings are matches.

    The statistic is that of the first and the last feature of a chain.

    Args:
        saes: Of consecutive layers, all in memory.
        matchings: Of neighbours, one fewer.
        links: `each`: one link after the other is random, the rest of the chain as it is, and a pair's p-value is the
            largest of all links'. `all`: all links are random and independent of one another; then a chain whose
            links are real but for one looks better than chance.
        null: As for `significance`.
        rotations: Random targets for each link; each costs one matching.
        seed: Of them.
        statistic: As for `significance`.
        settings: How the matchings were found; by default as their provenance says.
        cache: Where the matchings against random targets are kept.

    Raises:
        UserError: If SAEs and matchings are not a chain, or as `significance`.
    """
    refuse_unknown(null, statistic)
    refuse_impossible_counts(rotations, seed)
    if links not in ("each", "all"):
        raise UserError(f"unknown links {shown(links)}; there are each, all")
    if len(matchings) < 1 or len(saes) != len(matchings) + 1:
        raise UserError(
            f"a chain of {len(matchings)} matchings leads through {len(matchings) + 1} SAEs, got {len(saes)}"
        )
    again = [
        rematch(source, target, matching, settings=settings, cache=cache)
        for source, target, matching in zip(saes, saes[1:], matchings, strict=False)
    ]
    composed = reduce(compose, matchings)
    tested = again[0].source_part & written_and_read(saes[0])
    seeds = rotation_seeds(seed, rotations)
    chain = _Chain(saes, matchings, again, null, statistic, tested)
    about = NullEvidence(null, statistic, rotations, seed, seeds, 0, 0.0, ())
    observed = torch.where(tested, pair_statistic(saes[0], saes[-1], composed.permutation, statistic), torch.nan)
    if links == "all":
        return judged(composed, observed, tested, torch.cat([chain.all_random(each) for each in seeds]), about)
    by_link = [torch.cat([chain.one_random(link, each) for each in seeds]) for link in range(len(matchings))]
    return judged_by_worst(composed, observed, tested, by_link, about)


@plain_torch()
def path_significance(links: Sequence[Significance]) -> Significance:
    """The composition of judged matchings, each pair with the largest p-value of the links that it leads through.

    Nothing is matched again. The statistic is the smallest of the links'.

    Args:
        links: Of neighbours, in order.

    Raises:
        UserError: If there are none, they are not a chain, or they rest on different nulls or statistics.
    """
    kinds = {(each.evidence.null, each.evidence.statistic) for each in links}
    if len(kinds) != 1:
        found = "; ".join(sorted(" ".join(kind) for kind in kinds)) or "none"
        raise UserError(f"a path needs links of one null and one statistic, got {found}")
    composed = reduce(compose, [each.matching for each in links])
    at = torch.arange(len(composed.permutation))
    p, statistic = torch.zeros(len(at), dtype=torch.float64), torch.full((len(at),), math.inf, dtype=torch.float64)
    for each in links:
        # Where the path has ended, nothing is known.
        known = torch.cat([torch.stack([each.p, each.statistic]), torch.full((2, 1), math.nan, dtype=torch.float64)], 1)
        p, statistic = torch.maximum(p, known[0][at]), torch.minimum(statistic, known[1][at])
        at = torch.cat([each.matching.permutation, torch.full((1,), -1)])[at]
    tested = links[0].tested
    hardest = max(links, key=lambda each: each.cut(ALPHA))
    return Significance(composed, statistic, p, q_values(p, tested), tested, hardest.evidence)


class _Chain:
    """What chance makes of a chain.

    Args:
        saes: The SAEs.
        matchings: Of neighbours.
        again: How each was found.
        null: Which random targets.
        statistic: Which statistic.
        tested: Features of the first SAE that are judged.
    """

    def __init__(
        self,
        saes: Sequence[SAE],
        matchings: Sequence[Matching],
        again: Sequence[Rematch],
        null: Null,
        statistic: Statistic,
        tested: Bool[Tensor, " n_source"],
    ) -> None:
        self.saes, self.again, self.null, self.statistic, self.tested = saes, again, null, statistic, tested
        self._targets: dict[tuple[int, ...], NullTargets] = {}
        self.permutations = [matching.permutation for matching in matchings]
        self.live = [
            written_and_read(sae) & part
            for sae, part in zip(saes[1:], (each.target_part for each in again), strict=True)
        ]

    def all_random(self, seed: int) -> Float64[Tensor, " draws"]:
        """Every SAE but the first replaced by a random one, all independent, and matched anew."""
        source, permutations = self.saes[0], []
        for link, own in enumerate(rotation_seeds(seed, len(self.again))):
            target = self._random((link,)).draw(own)[0]
            permutations.append(self.again[link].partners(source, target, self.again[link].source_part))
            source = target
        return self._statistic(permutations, source)

    def one_random(self, link: int, seed: int) -> Float64[Tensor, " draws"]:
        """One link random, and all SAEs behind it turned alike, so that the other links stay as they are."""
        drawn = self._random(tuple(dict.fromkeys((link, len(self.again) - 1)))).draw(seed)
        partners = self.again[link].partners(self.saes[link], drawn[0], self.again[link].source_part)
        permutations = [*self.permutations[:link], partners, *self.permutations[link + 1 :]]
        return self._statistic(permutations, drawn[-1])

    def _random(self, links: tuple[int, ...]) -> NullTargets:
        """Random targets of some links; what they have in common is found once."""
        if links not in self._targets:
            saes = tuple(self.saes[link + 1] for link in links)
            self._targets[links] = NullTargets(saes, self.null, tuple(self.live[link] for link in links))
        return self._targets[links]

    def _statistic(self, permutations: Sequence[Int64[Tensor, " _"]], end: SAE) -> Float64[Tensor, " draws"]:
        reached = permutations[0]
        for permutation in permutations[1:]:
            reached = torch.cat([permutation, torch.full((1,), -1)])[reached]
        return pair_statistic(self.saes[0], end, reached, self.statistic)[self.tested]
