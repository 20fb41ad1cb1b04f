"""Pictures of a validation's results: one line an arm, layers or distances across, one panel a dataset."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from matplotlib.figure import Figure

from sae_match.evaluation.arm_names import MATCHED, order_of, quantile_of
from sae_match.evaluation.statistics.results import Result, Results, SpanResult, cells_of
from sae_match.report.drawing import (
    ARM_STYLES,
    GREY,
    METRIC_LABELS,
    Point,
    add_legend,
    draw_line,
    panels,
    set_ticks,
    titled,
)
from sae_match.report.picture import Picture

_Lines = Mapping[str, Sequence[Point]]


def metric_pictures(
    results: Results, spans: Sequence[SpanResult], metrics: Iterable[str] = METRIC_LABELS
) -> Iterator[Picture]:
    """One a metric that was measured, and one for distances where there are several."""
    for metric in metrics:
        if len(results.select(metric=metric)):
            yield by_layer(results, metric)
            if len({row.span for row in spans}) > 1:
                yield by_span(spans, metric)


def by_layer(results: Results, metric: str) -> Picture:
    """A metric of every arm by target layer, datasets side by side; of neighbours, or of the shortest distance."""
    of_metric = results.select(metric=metric)
    shortest = min(row.target_layer - row.source_layer for row in of_metric)
    rows = [row for row in of_metric if row.target_layer - row.source_layer == shortest]
    figure = _side_by_side(
        {dataset: _lines(rows, dataset, "target_layer") for dataset in results.distinct("dataset")},
        METRIC_LABELS[metric],
        "target layer",
    )
    return Picture(metric, figure, [cells_of(row, results.named) for row in rows])


def by_span(spans: Sequence[SpanResult], metric: str) -> Picture:
    """A metric of every arm by the distance of the two layers, as a mean over pairs."""
    rows = [row for row in spans if row.metric == metric]
    datasets = dict.fromkeys(row.dataset for row in rows)
    figure = _side_by_side(
        {dataset: _lines(rows, dataset, "span") for dataset in datasets},
        METRIC_LABELS[metric],
        "distance of target and source layer",
    )
    return Picture(f"{metric}_by_distance", figure, [asdict(row) for row in rows])


def _lines(rows: Sequence[Result | SpanResult], dataset: str, across: str) -> dict[str, list[Point]]:
    """Points of each arm, in table order; quantiles have a picture of their own."""
    lines: dict[str, list[Point]] = {}
    for row in sorted(rows, key=lambda row: (order_of(row.arm), getattr(row, across))):
        if row.dataset == dataset and row.arm in ARM_STYLES and quantile_of(row.arm) is None:
            lines.setdefault(row.arm, []).append(Point(getattr(row, across), row.value, row.low, row.high))
    return lines


def _side_by_side(lines: Mapping[str, _Lines], label: str, across: str) -> Figure:
    figure, drawn = panels(len(lines))
    for panel, (dataset, of_arms) in zip(drawn, lines.items(), strict=True):
        for arm, points in of_arms.items():
            draw_line(panel, points, arm, ARM_STYLES[arm], 2.5 if arm == MATCHED else 1.2)
        set_ticks(panel, (point.at for points in of_arms.values() for point in points))
        panel.axhline(0, color=GREY, linewidth=0.8)
        titled(panel, dataset)
        panel.set_xlabel(across)
    drawn[0].set_ylabel(label)
    add_legend(figure, drawn[0])
    return figure
