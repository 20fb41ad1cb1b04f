"""Results that one can do in one's head."""

import math

import pyarrow as pa

from sae_match.evaluation.arm_names import ARMS
from sae_match.evaluation.statistics.results import Result, Results, SpanResult

METRICS = ("explained_variance", "delta_loss", "matching_score")
PAIRS = [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)]
VALUES = {**dict.fromkeys(ARMS, 0.5), "matched": 0.25, "quantile_0.5": 0.375}


def results(pairs=PAIRS, half_width=0.125):
    """A pair's value is its arm's plus its source layer."""
    rows = [
        Result(*pair, arm, dataset, metric, value + pair[0], *ends(value + pair[0], half_width), 10, 2)
        for pair in pairs
        for dataset in ("prose", "code")
        for arm, value in VALUES.items()
        for metric in METRICS
    ]
    clean = [Result(*pairs[0], "clean", dataset, "loss", 2.5, None, None, 10, 2) for dataset in ("prose", "code")]
    return Results(clean + rows)


def spans(distances=(1, 2), half_width=0.125):
    return [
        SpanResult(span, arm, dataset, metric, value * span, *ends(value * span, half_width), 4 - span)
        for span in distances
        for dataset in ("prose", "code")
        for arm, value in VALUES.items()
        for metric in METRICS
    ]


def ends(value, half_width):
    return (None, None) if half_width is None else (value - half_width, value + half_width)


def pair_tables():
    """Two pairs of layers; of the second, one cost is not known."""

    def table(source, costs):
        size = 2 * len(costs)
        return pa.table(
            {
                "source_layer": [source] * size,
                "target_layer": [source + 1] * size,
                "dataset": ["prose"] * len(costs) + ["code"] * len(costs),
                "cost": costs * 2,
                "jaccard": pa.array([None, *[0.5] * (size - 1)], pa.float64()),
            }
        )

    return {(0, 1): table(0, [1.0, 2.0, 4.0]), (1, 2): table(1, [3.0, math.nan])}
