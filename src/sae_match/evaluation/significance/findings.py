"""What fraction of the features is truly matched, and whether that means anything: as rows of `results.csv`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float64
from torch import Tensor

from sae_match.evaluation.arm_names import COMPOSED, MATCHED
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.significance.coactivation import Coactivation
from sae_match.evaluation.significance.measured import (
    JACCARD,
    MATCHING_SCORE,
    OTHERS,
    RATIO,
    STOREY,
    TRUE,
    beside_significance,
    of_classes,
    of_significance,
)
from sae_match.evaluation.significance.over_features import (
    Estimate,
    mean_of,
    means_over_features,
    median_over_features,
)
from sae_match.evaluation.statistics.results import WEIGHTS, Result, SpanResult
from sae_match.evaluation.statistics.tally import Tally
from sae_match.matching.significance.composed import path_significance
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.result import Significance

#: Smallest significant statistic of two layers; median statistic of their pairs.
CUT, MEDIAN = "significant_from", "median_cosine"

Rows = Float64[Tensor, " rows"]
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
        spans: Their means over pairs of layers at the same distance.
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
        chains = chains_of({pair: found.significance for pair, found in judged.items()})
        rows: dict[_Key, dict[str, Rows]] = {}
        for pair, found in judged.items():
            population = "L{:02d}-L{:02d}".format(*pair)
            measured = {**of_significance(found.significance, alpha), **beside_significance(found)}
            rows[pair, MATCHED, WEIGHTS] = _bounded(means_over_features(measured, population, seed))
            for dataset in () if tally is None else _measured(tally):
                together = Coactivation.of(tally, pair, dataset, found.significance.matching)
                means = means_over_features(of_classes(found, alpha, together), population, seed)
                rows[pair, MATCHED, dataset] = _with_ratios(means)
        for pair, chain in chains.items():
            population = "L{:02d}-L{:02d}".format(*pair)
            means = means_over_features(of_significance(chain, alpha), population, seed)
            rows[pair, COMPOSED, WEIGHTS] = _bounded(means)
        singles = {pair: _singles(found.significance, alpha) for pair, found in judged.items()}
        return cls(alpha, judged, chains, list(_results(rows, singles, tally)), list(_spans(rows)))


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


def _measured(tally: Tally) -> list[str]:
    """Datasets of which something was measured."""
    return [dataset for dataset in tally.layout.datasets if tally.documents(dataset)]


def _bounded(rows: dict[str, Rows]) -> dict[str, Rows]:
    """The same, Storey's estimate never below zero."""
    return {name: values.clamp_min(0) if name == STOREY else values for name, values in rows.items()}


def _with_ratios(rows: dict[str, Rows]) -> dict[str, Rows]:
    """The same, and how many times as much significant pairs do together as the others."""
    return {**rows, **{f"{measure}_{RATIO}": _ratio(rows, measure) for measure in (JACCARD, MATCHING_SCORE)}}


def _ratio(rows: Mapping[str, Rows], measure: str) -> Rows:
    over, under = rows[f"{measure}_{TRUE}"], rows[f"{measure}_{OTHERS}"]
    # Where the others do nothing together, there is no number.
    return torch.where(under > 0, over / under, torch.nan)


def _singles(found: Significance, alpha: float) -> dict[str, Estimate]:
    """Numbers that are no means over features."""
    cut, median = found.cut(alpha), median_over_features(found.statistic)
    return {**({CUT: Estimate(cut)} if math.isfinite(cut) else {}), MEDIAN: median}


def _results(
    rows: Mapping[_Key, Mapping[str, Rows]], singles: Mapping[Pair, Mapping[str, Estimate]], tally: Tally | None
) -> Iterator[Result]:
    for (pair, arm, dataset), found in rows.items():
        tokens, documents = _text_of(tally, pair, dataset)
        estimates = {name: Estimate.of(values) for name, values in found.items()}
        estimates |= singles[pair] if (arm, dataset) == (MATCHED, WEIGHTS) else {}
        for name, one in estimates.items():
            if math.isfinite(one.value):
                yield Result(*pair, arm, dataset, name, one.value, one.low, one.high, tokens, documents)


def _text_of(tally: Tally | None, pair: Pair, dataset: str) -> tuple[int, int]:
    """Tokens and documents that a number rests on; none where it follows from weights alone."""
    if tally is None or dataset == WEIGHTS:
        return 0, 0
    return int(tally.l0((pair[0], dataset))[0, 1]), tally.documents(dataset)


def _spans(rows: Mapping[_Key, Mapping[str, Rows]]) -> Iterator[SpanResult]:
    groups: dict[tuple[int, str, str], list[Mapping[str, Rows]]] = {}
    for (pair, arm, dataset), found in rows.items():
        groups.setdefault((pair[1] - pair[0], arm, dataset), []).append(found)
    for (span, arm, dataset), several in sorted(groups.items(), key=lambda group: group[0]):
        means = {name: mean_of([found[name] for found in several]) for name in several[0]}
        if dataset != WEIGHTS:
            # A ratio of means, not the mean of ratios, which one pair of layers could make as large as it likes.
            means = _with_ratios({name: rows for name, rows in means.items() if not name.endswith(RATIO)})
        for name, values in means.items():
            one, pairs = Estimate.of(values), sum(bool(found[name][0].isfinite()) for found in several)
            if math.isfinite(one.value):
                yield SpanResult(span, arm, dataset, name, one.value, one.low, one.high, pairs)
