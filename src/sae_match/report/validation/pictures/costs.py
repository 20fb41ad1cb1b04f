"""Are cheap pairs alike, and expensive ones not? The distribution of costs, with examples from both ends (Fig. 5)."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes

from sae_match.evaluation.plan import Pair
from sae_match.report.drawing import BLUE, LEAST_SIZE, ORANGE, TEXT_SIZE, bin_edges, panels, titled
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome

_BINS = 40
_EXAMPLES = 5
_LABEL = 50


def pair_error(outcome: Outcome) -> Iterator[Picture]:
    """Histogram of pair costs of the pair of layers in the middle, its cheapest and its costliest live pairs.

    None without the arm `matched`, or where no pair was active on both sides.
    """
    neighbours = [pair for pair in outcome.neighbours() if pair in outcome.tables]
    if not neighbours:
        return
    middle = neighbours[len(neighbours) // 2]
    examples = _examples(outcome, middle)
    if not examples:
        return
    figure, (histogram, table) = panels(2, most=1, height=2.6, sharey=False)
    counts, edges = _draw_histogram(histogram, _pairs(outcome.tables[middle]))
    titled(histogram, f"layers {middle[0]} and {middle[1]}")
    histogram.set(xlabel="cost of a pair (squared distance)", ylabel="pairs")
    histogram.legend(frameon=False, fontsize=TEXT_SIZE)
    _draw_examples(table, examples)
    bins = [
        {"source_layer": middle[0], "target_layer": middle[1], "from": low, "to": high, "pairs": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    yield Picture("pair_error", figure, bins, {"examples": examples})


def _pairs(table: pa.Table) -> pa.Table:
    """One row a pair of features, with its activity on all datasets together."""
    sums = table.group_by(["source_feature", "target_feature", "cost"], use_threads=False)
    return sums.aggregate([("both_active", "sum"), ("source_active", "sum"), ("target_active", "sum")])


def _draw_histogram(panel: Axes, pairs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    costs = pairs["cost"].to_numpy()
    known = np.isfinite(costs)
    live = pc.and_(pc.greater(pairs["source_active_sum"], 0), pc.greater(pairs["target_active_sum"], 0)).to_numpy()
    counts, edges, _ = panel.hist(
        [costs[live & known], costs[~live & known]],
        bins=bin_edges(costs, _BINS).tolist(),
        stacked=True,
        color=[BLUE, ORANGE],
        label=["both live", "one never active"],
    )
    return np.asarray(counts)[-1], np.asarray(edges)


def _examples(outcome: Outcome, pair: Pair) -> list[dict[str, object]]:
    """The cheapest and the costliest pairs of which both features were active, with what they fire on."""
    rows = [
        row
        for row in _pairs(outcome.tables[pair]).sort_by("cost").to_pylist()
        if row["source_active_sum"] and row["target_active_sum"] and math.isfinite(row["cost"])
    ]
    ends = rows[:_EXAMPLES], rows[_EXAMPLES:][-_EXAMPLES:]
    source, target = outcome.ends(pair)
    return [
        {
            "end": name,
            "source_feature": row["source_feature"],
            "target_feature": row["target_feature"],
            "cost": row["cost"],
            "jaccard": _jaccard(row),
            "source_fires_on": _label(outcome, source, row["source_feature"]),
            "target_fires_on": _label(outcome, target, row["target_feature"]),
        }
        for name, end in zip(("cheapest", "costliest"), ends, strict=True)
        for row in end
    ]


def _jaccard(row: Mapping[str, int]) -> float:
    both = row["both_active_sum"]
    return both / (row["source_active_sum"] + row["target_active_sum"] - both)


def _label(outcome: Outcome, layer: int, feature: int) -> str:
    return "" if outcome.passages is None else outcome.passages.label(layer, feature)


def _draw_examples(panel: Axes, examples: list[dict[str, object]]) -> None:
    """The cheapest on the left, the costliest on the right."""
    panel.axis("off")
    for at, end in ((0.0, "cheapest"), (0.5, "costliest")):
        lines = [f"{end} pairs (cost; tokens shared)"]
        for row in examples:
            if row["end"] == end:
                numbers = f"{row['cost']:.2f}; {row['jaccard']:.0%}"
                lines.append(f"{row['source_feature']} → {row['target_feature']}  ({numbers})")
                lines += [f"   {_cut(row['source_fires_on'])}", f"   → {_cut(row['target_fires_on'])}"]
        panel.text(at, 1, "\n".join(lines), va="top", fontsize=LEAST_SIZE, linespacing=1.25, parse_math=False)


def _cut(label: object) -> str:
    text = str(label)
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}…"
