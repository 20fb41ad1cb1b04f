"""What fraction of the features is truly matched, and whether that means anything: as rows of `results.csv`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add

import torch

from sae_match.evaluation.arm_names import COMPOSED, MATCHED
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.significance.coactivation import Coactivation
from sae_match.evaluation.significance.measured import (
    JACCARD,
    MATCHING_SCORE,
    OTHERS,
    RATIO,
    SIGNIFICANT,
    STOREY,
    TRUE,
    beside_significance,
    of_classes,
    of_significance,
)
from sae_match.evaluation.significance.over_features import Estimate, Sums, median_over_features, sums_over_features
from sae_match.evaluation.statistics.results import WEIGHTS, Result, SpanResult
from sae_match.evaluation.statistics.tally import Tally
from sae_match.matching.significance.composed import path_significance
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.result import Significance

#: Smallest significant statistic of two layers; median statistic of their pairs.
CUT, MEDIAN = "significant_from", "median_cosine"

_Key = tuple[Pair, str, str]
"""Pair of layers, arm, dataset."""


@dataclass(frozen=True)
class Findings:
    """What significance says of a run.

    Attributes:
        alpha: Level.
        judged: Of each pair of layers, what is known about the pairs of `matched`.
        chains: Of each pair of layers that judged neighbours lead from and to, their composition, judged by its links.
        results: Numbers of each pair of layers.
        spans: The same over the features of all pairs of layers at the same distance together.
    """

    alpha: float
    judged: Mapping[Pair, Judged]
    chains: Mapping[Pair, Significance]
    results: Sequence[Result]
    spans: Sequence[SpanResult]

    @classmethod
    def of(cls, judged: Mapping[Pair, Judged], tally: Tally | None, alpha: float, seed: int) -> "Findings":
        """What follows from judged matchings, and from what was added up on text.

        Args:
            judged: Of each pair of layers.
            tally: Sums over the evaluated text; none for weights alone.
            alpha: Level.
            seed: Of the bootstrap.
        """
        # Between two collections no matching leads on from where another one ends.
        is_chained = tally is None or not tally.layout.apart
        chains = chains_of({pair: found.significance for pair, found in judged.items()} if is_chained else {})
        sums: dict[_Key, dict[str, Sums]] = {}
        for pair, found in judged.items():
            population = _population(pair)
            measured = {**of_significance(found.significance, alpha), **beside_significance(found)}
            sums[pair, MATCHED, WEIGHTS] = sums_over_features(measured, population, seed)
            if tally is None:
                continue
            for dataset in (dataset for dataset in tally.layout.datasets if tally.documents(dataset)):
                together = Coactivation.of(tally, pair, dataset, found.significance.matching)
                measured = of_classes(found, alpha, together)
                sums[pair, MATCHED, dataset] = sums_over_features(measured, population, seed)
        for pair, chain in chains.items():
            # Of a chain the worst link's p-value counts: no estimate of how many are uniform can be made of it.
            measured = {SIGNIFICANT: of_significance(chain, alpha)[SIGNIFICANT]}
            sums[pair, COMPOSED, WEIGHTS] = sums_over_features(measured, _population(pair), seed)
        singles = {pair: _singles(found.significance, alpha) for pair, found in judged.items()}
        return cls(alpha, judged, chains, list(_results(sums, singles, tally)), list(_spans(sums)))


def chains_of(judged: Mapping[Pair, Significance]) -> dict[Pair, Significance]:
    """Compositions of judged matchings of neighbours, each judged by its links; from two links on.

    Neighbours are layers at the shortest distance among those judged that follow each other.
    """
    layers = sorted({layer for pair in judged for layer in pair})
    found: dict[Pair, Significance] = {}
    for start, _ in enumerate(layers):
        links: list[Significance] = []
        for step in pairwise(layers[start:]):
            if step not in judged:
                break
            links.append(judged[step])
            if len(links) > 1:
                found[layers[start], step[1]] = path_significance(links)
    return found


def _population(pair: Pair) -> str:
    return "L{:02d}-L{:02d}".format(*pair)


def _estimates(sums: Mapping[str, Sums]) -> dict[str, Estimate]:
    """Means, Storey's never below zero; and how many times as much significant pairs do together as the others."""
    means = {name: one.mean.clamp_min(0) if name == STOREY else one.mean for name, one in sums.items()}
    for measure in (JACCARD, MATCHING_SCORE):
        if f"{measure}_{TRUE}" in means:
            over, under = means[f"{measure}_{TRUE}"], means[f"{measure}_{OTHERS}"]
            # Where the others do nothing together, there is no number.
            means[f"{measure}_{RATIO}"] = torch.where(under > 0, over / under, torch.nan)
    found = {name: Estimate.of(rows) for name, rows in means.items()}
    return {name: one for name, one in found.items() if math.isfinite(one.value)}


def _singles(found: Significance, alpha: float) -> dict[str, Estimate]:
    """Numbers that are no means over features."""
    cut, median = found.cut(alpha), median_over_features(found.statistic)
    return {**({CUT: Estimate(cut)} if math.isfinite(cut) else {}), MEDIAN: median}


def _results(
    sums: Mapping[_Key, Mapping[str, Sums]], singles: Mapping[Pair, Mapping[str, Estimate]], tally: Tally | None
) -> Iterator[Result]:
    for (pair, arm, dataset), found in sums.items():
        tokens, documents = _text_of(tally, pair, dataset)
        more = singles[pair] if (arm, dataset) == (MATCHED, WEIGHTS) else {}
        for name, one in {**_estimates(found), **more}.items():
            yield Result(*pair, arm, dataset, name, one.value, one.low, one.high, tokens, documents)


def _text_of(tally: Tally | None, pair: Pair, dataset: str) -> tuple[int, int]:
    """Tokens and documents that a number rests on; none where it follows from weights alone."""
    if tally is None or dataset == WEIGHTS:
        return 0, 0
    return int(tally.l0((tally.layout.ends(pair)[0], dataset))[0, 1]), tally.documents(dataset)


def _spans(sums: Mapping[_Key, Mapping[str, Sums]]) -> Iterator[SpanResult]:
    """Means over the features of all pairs of layers at the same distance together."""
    groups: dict[tuple[int, str, str], list[Mapping[str, Sums]]] = {}
    for (pair, arm, dataset), found in sums.items():
        groups.setdefault((pair[1] - pair[0], arm, dataset), []).append(found)
    for (span, arm, dataset), several in sorted(groups.items(), key=lambda group: group[0]):
        together = {name: reduce(add, (found[name] for found in several)) for name in several[0]}
        for name, one in _estimates(together).items():
            yield SpanResult(span, arm, dataset, name, one.value, one.low, one.high, len(several))
