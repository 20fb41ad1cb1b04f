"""Are cheap pairs good pairs? Arms in which only the cheapest are matched (App. B, Figs. 16, 17)."""

from collections.abc import Iterator

import matplotlib as mpl

from sae_match.evaluation.arm_names import MATCHED, MATCHED_SIGNIFICANT, RECONSTRUCT_SOURCE, quantile_of
from sae_match.evaluation.statistics.results import cells_of
from sae_match.report.drawing import (
    ARM_STYLES,
    GREY,
    Point,
    add_legend,
    draw_line,
    metric_label,
    panels,
    set_ticks,
    titled,
)
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome

_METRICS = ("explained_variance", "delta_loss")
_MARKERS = ("v", "^", "D", "s", "P", "X")


def quantiles(outcome: Outcome) -> Iterator[Picture]:
    """Explained variance and delta loss by target layer, a line for each quantile. None without such arms."""
    neighbours = set(outcome.neighbours())
    rows = [
        row
        for row in outcome.results
        if row.metric in _METRICS
        and (row.source_layer, row.target_layer) in neighbours
        and (quantile_of(row.arm) is not None or row.arm in (MATCHED, MATCHED_SIGNIFICANT, RECONSTRUCT_SOURCE))
    ]
    shares = sorted({share for row in rows if (share := quantile_of(row.arm)) is not None})
    if not shares:
        return
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    figure, drawn = panels(len(datasets) * len(_METRICS), most=len(_METRICS), height=3.1, sharey=False)
    colours = mpl.colormaps["viridis"]
    styles = {
        f"quantile_{share:g}": (mpl.colors.to_hex(colours(0.9 - 0.8 * share)), _MARKERS[at % len(_MARKERS)], "-")
        for at, share in enumerate(shares)
    }
    styles = {RECONSTRUCT_SOURCE: (GREY, "x", "--"), **styles}
    styles |= {arm: ARM_STYLES[arm] for arm in (MATCHED_SIGNIFICANT, MATCHED)}
    labels = {arm: f"cheapest {quantile_of(arm):.0%}" for arm in styles if quantile_of(arm) is not None}
    labels |= {MATCHED: "all pairs (matched)", MATCHED_SIGNIFICANT: "significant pairs"}
    labels |= {RECONSTRUCT_SOURCE: "none (source SAE)"}
    for panel, (metric, dataset) in zip(drawn, ((m, d) for d in datasets for m in _METRICS), strict=True):
        for arm, style in styles.items():
            points = [
                Point(row.target_layer, row.value, row.low, row.high)
                for row in sorted(rows, key=lambda row: row.target_layer)
                if (row.arm, row.metric, row.dataset) == (arm, metric, dataset)
            ]
            if points:
                draw_line(panel, points, labels[arm], style, 2.5 if arm == MATCHED else 1.2)
                set_ticks(panel, (point.at for point in points))
        titled(panel, dataset)
        panel.set_xlabel("target layer")
        panel.set_ylabel(metric_label(metric))
    add_legend(figure, drawn)
    yield Picture("quantiles", figure, [cells_of(row, outcome.results.named) for row in rows])
