"""Matched pairs from both classes: those that are significant, and those whose partner may be chance."""

import random
from collections.abc import Iterator, Mapping

from sae_match.matching.significance.result import Significance
from sae_match.semantics.questions import NOT_SIGNIFICANT, SIGNIFICANT, Eligible, Pair, Question


def of_each_class(
    judged: Mapping[Pair, Significance], eligible: Eligible, count: int, alpha: float, seed: int, first: int = 0
) -> Iterator[Question]:
    """So many matched pairs of each class, drawn uniformly without replacement over all pairs of layers.

    Paths hold as many pairs that are not significant as there happen to be; here both classes are as many.

    Args:
        judged: Matchings of neighbouring layers.
        eligible: Features that may be asked about.
        count: Pairs of each class; fewer where there are no more.
        alpha: Level.
        seed: Of the draw.
        first: Number of the first pair's path: each pair is a path of its own, and independent of all others.
    """
    draw = random.Random(seed)
    for arm in (SIGNIFICANT, NOT_SIGNIFICANT):
        there = [question for pair in sorted(judged) for question in _of_pair(pair, judged[pair], eligible, alpha, arm)]
        for question in draw.sample(there, min(count, len(there))):
            # As numbered as they are drawn.
            yield Question(**{**vars(question), "path": first})
            first += 1


def _of_pair(pair: Pair, found: Significance, eligible: Eligible, alpha: float, arm: str) -> Iterator[Question]:
    """Every pair of a class of two layers."""
    matching = found.matching
    part = found.q <= alpha if arm == SIGNIFICANT else found.q > alpha
    part &= eligible[pair[0]]
    for source in part.nonzero()[:, 0].tolist():
        target = int(matching.permutation[source])
        if target >= 0 and eligible[pair[1]][target]:
            cost, q = float(matching.pair_cost[source]), float(found.q[source])
            yield Question(arm, pair[0], source, pair[1], target, 0, cost, q)
