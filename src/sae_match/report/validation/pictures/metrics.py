"""Pictures of a validation's results: one line an arm, layers or distances across, one panel a dataset.

The arms that matter are in one, those that they are judged by in another, which `_controls` is added to the name of.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TypeVar

from matplotlib.figure import Figure

from sae_match.evaluation.arm_names import (
    COACTIVATION,
    COMPOSED,
    IDENTITY,
    LAYER_DROP,
    LINEAR_MAP,
    MATCHED,
    MATCHED_MAPPED,
    MATCHED_UNFOLDED,
    NEAREST,
    RANDOM,
    RECONSTRUCT_SOURCE,
    RECONSTRUCT_TARGET,
    SWAPPED,
    SWAPPED_SIGNIFICANT,
    order_of,
)
from sae_match.evaluation.statistics.results import Result, Results, SpanResult, cells_of
from sae_match.report.drawing import (
    ARM_STYLES,
    GREY,
    METRIC_LABELS,
    Point,
    draw_line,
    metric_label,
    panels,
    set_ticks,
    titled,
)
from sae_match.report.labels import label_ends
from sae_match.report.picture import Picture

_Lines = Mapping[str, Sequence[Point]]
_Row = Result | SpanResult
_Any = TypeVar("_Any", Result, SpanResult)
#: The five arms of the main picture are the first of these that a metric was measured of: what no SAE of the layer can
#: beat, what doing nothing gives, two ways to use a matching, and what being one-to-one costs. Where one of them was
#: not asked for, or has no such number, a further one takes its place.
MAIN_ARMS = (
    MATCHED,
    RECONSTRUCT_TARGET,
    LAYER_DROP,
    SWAPPED_SIGNIFICANT,
    SWAPPED,
    NEAREST,
    COMPOSED,
    MATCHED_MAPPED,
    MATCHED_UNFOLDED,
    COACTIVATION,
    RANDOM,
    LINEAR_MAP,
    RECONSTRUCT_SOURCE,
    IDENTITY,
)
_MOST = 5


def metric_pictures(
    results: Results, spans: Sequence[SpanResult], metrics: Iterable[str] = METRIC_LABELS
) -> Iterator[Picture]:
    """One a metric that was measured, and one for distances where there are several."""
    for metric in metrics:
        if len(results.select(metric=metric)):
            yield from by_layer(results, metric)
            if len({row.span for row in spans}) > 1:
                yield from by_span(spans, metric)


def by_layer(results: Results, metric: str) -> Iterator[Picture]:
    """A metric of every arm by target layer, datasets side by side; of neighbours, or of the shortest distance."""
    of_metric = results.select(metric=metric)
    shortest = min(row.target_layer - row.source_layer for row in of_metric)
    rows = [row for row in of_metric if row.target_layer - row.source_layer == shortest]
    for name, some in _in_two(metric, rows):
        figure = _side_by_side(some, metric, "target_layer", "target layer")
        yield Picture(name, figure, [cells_of(row, results.named) for row in some])


def by_span(spans: Sequence[SpanResult], metric: str) -> Iterator[Picture]:
    """A metric of every arm by the distance of the two layers, as a mean over pairs."""
    for name, some in _in_two(f"{metric}_by_distance", [row for row in spans if row.metric == metric]):
        figure = _side_by_side(some, metric, "span", "distance of target and source layer (layers)")
        yield Picture(name, figure, [asdict(row) for row in some])


def main_arms(measured: Iterable[str]) -> list[str]:
    """The arms of the main picture, of those that were measured."""
    there = set(measured)
    # With the pairs that cannot be told from chance left alone the same arm is better: it stands for both.
    passed_over = {SWAPPED} if SWAPPED_SIGNIFICANT in there else set()
    return [arm for arm in MAIN_ARMS if arm in there - passed_over][:_MOST]


def _in_two(name: str, rows: Sequence[_Any]) -> Iterator[tuple[str, list[_Any]]]:
    """Rows of the main picture and of the controls, beside which `matched` stands again; quantiles have their own."""
    drawn = [row for row in rows if row.arm in ARM_STYLES]
    main = set(main_arms(row.arm for row in drawn))
    others = {row.arm for row in drawn} - main
    if main:
        yield name, [row for row in drawn if row.arm in main]
    if others:
        yield f"{name}_controls", [row for row in drawn if row.arm in others or row.arm == MATCHED]


def _side_by_side(rows: Sequence[_Row], metric: str, across: str, name: str) -> Figure:
    """A panel a dataset, in rows of two."""
    lines = {dataset: _lines(rows, dataset, across) for dataset in dict.fromkeys(row.dataset for row in rows)}
    figure, drawn = panels(len(lines), height=3.4)
    for panel, (dataset, of_arms) in zip(drawn, lines.items(), strict=True):
        for arm, points in of_arms.items():
            draw_line(panel, points, arm.replace("_", " "), ARM_STYLES[arm], 2.5 if arm == MATCHED else 1.2)
        set_ticks(panel, (point.at for points in of_arms.values() for point in points))
        panel.axhline(0, color=GREY, linewidth=0.8)
        titled(panel, dataset)
        panel.set_xlabel(name)
    for panel in drawn[::2]:
        panel.set_ylabel(metric_label(metric))
    label_ends(figure, drawn)
    return figure


def _lines(rows: Sequence[_Row], dataset: str, across: str) -> dict[str, list[Point]]:
    """Points of each arm, in table order."""
    lines: dict[str, list[Point]] = {}
    for row in sorted(rows, key=lambda row: (order_of(row.arm), getattr(row, across))):
        if row.dataset == dataset:
            lines.setdefault(row.arm, []).append(Point(getattr(row, across), row.value, row.low, row.high))
    return lines
