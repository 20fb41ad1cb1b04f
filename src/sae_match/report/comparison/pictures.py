"""Pictures of runs side by side: means by run, lines by layer, and maps where two settings form a grid."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeGuard

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sae_match.evaluation.statistics.differences import excludes_zero
from sae_match.evaluation.statistics.results import Result, SpanResult
from sae_match.report.comparison.comparison import Comparison, Row, told
from sae_match.report.comparison.panels import axis_label, draw_along, draw_beside, side_by_side, style, wrapped
from sae_match.report.comparison.wording import setting_in_words, shown
from sae_match.report.drawing import GREY, Point, draw_line, set_ticks
from sae_match.report.maps import add_colours, draw_map, shades_of
from sae_match.report.picture import Drawings, Picture
from sae_match.report.runs import Setting

# Beyond this an axis cannot be drawn.
_FAR = 1e300
_Measured = Result | SpanResult


def comparison_drawings(comparison: Comparison) -> Drawings:
    """For each metric what draws means by run, how they differ, their course over layers, and a map over settings."""
    for metric in comparison.metrics:
        for draw in (by_run, by_run_difference, by_run_and_layer, grid):
            yield f"{metric}_{draw.__name__}", partial(_drawn, draw, comparison, metric)


def comparison_pictures(comparison: Comparison) -> Iterator[Picture]:
    """Every picture that runs have the numbers for."""
    for _, draw in comparison_drawings(comparison):
        yield from draw()


def _drawn(draw: Callable[[Comparison, str], Picture | None], comparison: Comparison, metric: str) -> Iterator[Picture]:
    if (picture := draw(comparison, metric)) is not None:
        yield picture


def by_run(comparison: Comparison, metric: str) -> Picture | None:
    """Means over pairs of layers, a line an arm: along the one setting that differs if it is a number, else by run."""
    found = {
        (dataset, arm): list(comparison.means(dataset=dataset, arm=arm, metric=metric, span=comparison.span))
        for dataset in comparison.datasets
        for arm in comparison.arms
    }
    label = axis_label(metric, comparison.arm if len(comparison.arms) == 1 else None)
    along = _numbers_along(comparison)
    height = 4.2 if along else 1.7 + 0.34 * len(comparison.joined.runs) * max(1, len(comparison.arms) / 2)

    def draw(panel: Axes, dataset: str) -> None:
        for place, arm in enumerate(comparison.arms):
            rows = found[dataset, arm]
            if rows and along:
                draw_along(panel, place, arm, [(along[1][number], row) for number, row in rows])
            elif rows:
                draw_beside(panel, (place, len(comparison.arms)), arm, rows)
        if along:
            panel.set_xlabel(wrapped(setting_in_words(along[0])))
        else:
            panel.set_yticks(range(len(comparison.joined.runs)), [wrapped(label) for label in comparison.joined.labels])
            panel.set_ylim(len(comparison.joined.runs) - 0.5, -0.5)
            panel.set_xlabel(label)

    figure = side_by_side(comparison, draw, height, legend=len(comparison.arms) > 1, lines="y" if along else "x")
    if along:
        figure.axes[0].set_ylabel(label)
    return _picture(f"{metric}_by_run", figure, comparison, [one for rows in found.values() for one in rows])


def by_run_difference(comparison: Comparison, metric: str) -> Picture | None:
    """How means of runs differ from those of the first on the same documents, a line a run; pale where they may not."""
    found = [(number, row) for number, row in comparison.differences if row.metric == metric]
    found = [(number, row) for number, row in found if row.span == comparison.span and row.arm in comparison.arms]
    numbers = sorted({number for number, _ in found})
    if not numbers:
        return None
    count = len(comparison.arms)

    def draw(panel: Axes, dataset: str) -> None:
        for place, arm in enumerate(comparison.arms):
            rows = [(numbers.index(of), row) for of, row in found if (row.dataset, row.arm) == (dataset, arm)]
            for differs, pale in ((True, 1.0), (False, 0.35)):
                some = [one for one in rows if excludes_zero(one[1].low, one[1].high) is differs]
                if some:
                    draw_beside(panel, (place, count), arm if differs else f"{arm}, may be equal", some, pale)
        panel.axvline(0, color=GREY, linewidth=0.8)
        panel.set_yticks(range(len(numbers)), [wrapped(comparison.joined.labels[number]) for number in numbers])
        panel.set_ylim(len(numbers) - 0.5, -0.5)
        panel.set_xlabel(f"{axis_label(metric)},\nless that of {wrapped(comparison.joined.labels[0], 40)}")

    height = 1.9 + 0.34 * len(numbers) * max(1, count / 2)
    figure = side_by_side(comparison, draw, height, legend=True, lines="x")
    return _picture(f"{metric}_by_run_difference", figure, comparison, found)


def by_run_and_layer(comparison: Comparison, metric: str) -> Picture | None:
    """One arm by target layer where there are several, a line a run; a layer that a run lacks is a gap in it."""
    found: list[tuple[int, Result]] = [
        (number, row)
        for number, run in enumerate(comparison.joined.runs)
        for row in run.results
        if row.arm == comparison.arm and row.metric == metric and row.target_layer - row.source_layer == comparison.span
    ]
    layers = sorted({row.target_layer for _, row in found})
    if len(layers) < 2:
        return None

    def draw(panel: Axes, dataset: str) -> None:
        for number, label in enumerate(comparison.joined.labels):
            by_layer = {row.target_layer: row for of, row in found if of == number and row.dataset == dataset}
            if by_layer:
                points = [_at(layer, by_layer.get(layer)) for layer in layers]
                draw_line(panel, points, wrapped(label), style(number), 1.4)
        set_ticks(panel, layers)
        panel.set_xlabel("target layer")

    figure = side_by_side(comparison, draw, 4.2, legend=True, lines="y")
    figure.axes[0].set_ylabel(axis_label(metric, comparison.arm))
    return _picture(f"{metric}_by_run_and_layer", figure, comparison, found)


def grid(comparison: Comparison, metric: str) -> Picture | None:
    """One arm as a map, if exactly two settings differ and every value of one was run with several of the other."""
    axes = _grid_axes(comparison)
    found = list(comparison.means(arm=comparison.arm, metric=metric, span=comparison.span))
    if axes is None or not found:
        return None
    (down, ups), (across, overs) = axes
    shades = shades_of(metric, [row.value for _, row in found])

    def draw(panel: Axes, dataset: str) -> None:
        cells = np.full((len(ups), len(overs)), np.nan)
        for number, row in found:
            if row.dataset == dataset:
                settings = comparison.joined.settings(number)
                cells[ups.index(settings[down]), overs.index(settings[across])] = row.value
        draw_map(panel, cells, shades)
        panel.set_xticks(range(len(overs)), [wrapped(shown(value), 14) for value in overs])
        panel.set_yticks(range(len(ups)), [wrapped(shown(value), 24) for value in ups])
        panel.set_xlabel(wrapped(setting_in_words(across)))

    figure = side_by_side(comparison, draw, 1.8 + 0.5 * len(ups), legend=False, lines=None)
    figure.axes[0].set_ylabel(wrapped(setting_in_words(down)))
    add_colours(figure.axes[: len(comparison.datasets)], shades, axis_label(metric, comparison.arm))
    return _picture(f"{metric}_grid", figure, comparison, found)


def _picture(
    name: str, figure: Figure, comparison: Comparison, found: Sequence[tuple[int, _Measured]]
) -> Picture | None:
    rows: list[Row] = [told(comparison.joined, number, row) for number, row in found]
    return Picture(name, figure, rows) if rows else None


def _numbers_along(comparison: Comparison) -> tuple[str, list[float]] | None:
    """The one setting that differs and its value in each run, if all are numbers."""
    if len(comparison.joined.differing) != 1:
        return None
    ((name, values),) = comparison.joined.differing.items()
    numbers = [float(value) for value in values if _is_number(value)]
    return (name, numbers) if len(numbers) == len(values) else None


def _grid_axes(comparison: Comparison) -> list[tuple[str, list[Setting]]] | None:
    """The two settings that differ with their values, if these form a grid; runs with the same settings form none."""
    if len(comparison.joined.differing) != 2:
        return None
    cells = list(zip(*comparison.joined.differing.values(), strict=True))
    in_line = [Counter(cell[axis] for cell in cells) for axis in (0, 1)]
    if len(set(cells)) < len(cells) or any(min(count.values()) < 2 for count in in_line):
        return None
    return [
        (name, sorted(counts) if all(map(_is_number, counts)) else list(counts))
        for name, counts in zip(comparison.joined.differing, in_line, strict=True)
    ]


def _is_number(value: Setting) -> TypeGuard[int | float]:
    """Whether a value has a place on an axis: one without end, or beyond all floats, has none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FAR


def _at(layer: int, row: Result | None) -> Point:
    """A layer's point, which no line goes through where there is no result."""
    return Point(layer, *((math.nan,) * 3 if row is None else (row.value, row.low, row.high)))
