"""Results arranged for people: charts by layer, a summary, pairs of features, tables for the terminal."""

import random
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rich.table import Table

from sae_match.evaluation.arms import ARMS, CLEAN, MATCHED
from sae_match.evaluation.results import Results
from sae_match.evaluation.tally import Pair, Tally
from sae_match.matching.matching import Matching

#: Most rows of a pair table that a dashboard is sent; larger tables are sampled.
MOST_PAIRS = 10_000


class PairRow(NamedTuple):
    """A matched pair of features and how often it was active on a dataset."""

    source_layer: int
    target_layer: int
    source_feature: int
    target_feature: int
    cost: float
    dataset: str
    source_active: int
    target_active: int
    both_active: int


PAIR_COLUMNS = PairRow._fields


def charts(results: Results) -> Iterator[tuple[int, dict[str, float]]]:
    """For each target layer, every number as `metric/dataset/arm`."""
    for layer in results.distinct("target_layer"):
        rows = results.select(target_layer=layer)
        yield layer, {f"{row.metric}/{row.dataset}/{row.arm}": row.value for row in rows}


def summary(results: Results) -> dict[str, float]:
    """Mean over the pairs of layers of every metric, as `metric/dataset/arm`."""
    collected: dict[str, list[float]] = {}
    for row in results:
        collected.setdefault(f"{row.metric}/{row.dataset}/{row.arm}", []).append(row.value)
    return {name: sum(values) / len(values) for name, values in collected.items()}


def pair_rows(tally: Tally, matchings: Mapping[tuple[Pair, str], Matching], seed: int = 0) -> list[PairRow]:
    """Pairs of the `matched` arm, at most `MOST_PAIRS` of them drawn with `seed`, in order."""
    rows = [
        row
        for (pair, arm), matching in matchings.items()
        if arm == MATCHED
        for dataset in tally.documents
        for row in _rows_of(pair, matching, dataset, tally)
    ]
    if len(rows) <= MOST_PAIRS:
        return rows
    return sorted(random.Random(seed).sample(rows, MOST_PAIRS))


def ladder(results: Results, metric: str, dataset: str) -> Table:
    """Layers down, arms across."""
    arms = [arm for arm in ARMS if len(results.select(arm=arm, metric=metric))]
    # No rules and narrow gaps: all arms fit a terminal of 80 columns.
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("layers")
    for arm in arms:
        table.add_column(arm.replace("_", "\n"), justify="right", style="bold" if arm == MATCHED else None)
    chosen = results.select(metric=metric, dataset=dataset)
    for pair in dict.fromkeys((row.source_layer, row.target_layer) for row in chosen):
        values = {row.arm: row.value for row in chosen.select(source_layer=pair[0], target_layer=pair[1])}
        table.add_row(f"{pair[0]} → {pair[1]}", *(f"{values[arm]:.3f}" for arm in arms))
    return table


def clean_loss(results: Results, dataset: str) -> float:
    """Loss of the unaltered model in nats per token."""
    return results.select(arm=CLEAN, metric="loss", dataset=dataset).rows[0].value


def _rows_of(pair: Pair, matching: Matching, dataset: str, tally: Tally) -> Iterator[PairRow]:
    source = tally.activity[pair[0], dataset].active.tolist()
    target = tally.activity[pair[1], dataset].active.tolist()
    joint = tally.joint[(*pair, MATCHED, dataset)].tolist()
    costs = matching.pair_cost.tolist()
    for feature, partner in enumerate(matching.permutation.tolist()):
        if partner >= 0:
            counts = (source[feature], target[partner], joint[feature])
            yield PairRow(*pair, feature, partner, costs[feature], dataset, *counts)
