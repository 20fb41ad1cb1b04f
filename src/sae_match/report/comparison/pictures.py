"""Pictures of runs side by side: means by run, lines by layer, and maps where two settings form a grid."""

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, TypeGuard

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sae_match.evaluation.statistics.results import Result, SpanResult
from sae_match.report.comparison.comparison import Comparison, Row, title_of, told
from sae_match.report.comparison.wording import shown
from sae_match.report.drawing import CYCLE, METRIC_LABELS, PALE, Point, draw_line, set_ticks, titled
from sae_match.report.picture import Drawings, Picture
from sae_match.report.runs import Setting
from sae_match.strings import LONGEST, in_a_line

_DASHES = ("-", "--", "-.", ":")
# Letters of a label before it goes on in the next line.
_WIDTH = 34
# Beyond this an axis cannot be drawn.
_FAR = 1e300
_Measured = Result | SpanResult
_Draw = Callable[[Axes, str], None]


def comparison_drawings(comparison: Comparison) -> Drawings:
    """For each metric what draws the means by run, its course over layers, and a map where two settings form a grid."""
    for metric in comparison.metrics:
        for draw in (by_run, by_run_and_layer, grid):
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
    label = _label(metric, comparison.arm if len(comparison.arms) == 1 else None)
    along = _numbers_along(comparison)
    height = 4.2 if along else 1.7 + 0.34 * len(comparison.joined.runs) * max(1, len(comparison.arms) / 2)

    def draw(panel: Axes, dataset: str) -> None:
        for place, arm in enumerate(comparison.arms):
            rows = found[dataset, arm]
            if rows and along:
                _draw_along(panel, place, arm, [(along[1][number], row) for number, row in rows])
            elif rows:
                _draw_beside(panel, (place, len(comparison.arms)), arm, rows)
        if along:
            panel.set_xlabel(_wrapped(along[0]))
        else:
            panel.set_yticks(
                range(len(comparison.joined.runs)), [_wrapped(label) for label in comparison.joined.labels]
            )
            panel.set_ylim(len(comparison.joined.runs) - 0.5, -0.5)
            panel.set_xlabel(label)

    figure = _panels(comparison, draw, height, legend=len(comparison.arms) > 1, lines="y" if along else "x")
    if along:
        figure.axes[0].set_ylabel(label)
    return _picture(f"{metric}_by_run", figure, comparison, [one for rows in found.values() for one in rows])


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
                draw_line(panel, points, _wrapped(label), _style(number), 1.4)
        set_ticks(panel, layers)
        panel.set_xlabel("target layer")

    figure = _panels(comparison, draw, 4.2, legend=True, lines="y")
    figure.axes[0].set_ylabel(_label(metric, comparison.arm))
    return _picture(f"{metric}_by_run_and_layer", figure, comparison, found)


def grid(comparison: Comparison, metric: str) -> Picture | None:
    """One arm as a map, if exactly two settings differ and every value of one was run with several of the other."""
    axes = _grid_axes(comparison)
    found = list(comparison.means(arm=comparison.arm, metric=metric, span=comparison.span))
    if axes is None or not found:
        return None
    (down, ups), (across, overs) = axes
    values = [row.value for _, row in found if math.isfinite(row.value)]
    low, high = min(values, default=0.0), max(values, default=1.0)

    def draw(panel: Axes, dataset: str) -> None:
        cells = np.full((len(ups), len(overs)), np.nan)
        for number, row in found:
            if row.dataset == dataset:
                settings = comparison.joined.settings(number)
                cells[ups.index(settings[down]), overs.index(settings[across])] = row.value
        image = panel.imshow(cells, cmap="cividis", vmin=low, vmax=high, aspect="auto")
        for (y, x), value in np.ndenumerate(cells):
            dark = value < (low + high) / 2
            panel.text(
                x,
                y,
                f"{value:.3f}" if np.isfinite(value) else "none",
                ha="center",
                va="center",
                color="w" if dark else "k",
            )
        panel.set_xticks(range(len(overs)), [_wrapped(shown(value), 14) for value in overs])
        panel.set_yticks(range(len(ups)), [_wrapped(shown(value), 24) for value in ups])
        panel.set_xlabel(_wrapped(across))
        if dataset == comparison.datasets[-1]:
            panel.figure.colorbar(image, ax=panel, label=_label(metric, comparison.arm))

    figure = _panels(comparison, draw, 1.8 + 0.6 * len(ups), legend=False, lines=None)
    figure.axes[0].set_ylabel(_wrapped(down))
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


def _panels(
    comparison: Comparison, draw: _Draw, height: float, *, legend: bool, lines: Literal["x", "y"] | None
) -> Figure:
    """A panel a dataset, drawn on; fine lines across one axis, a legend beside the panels if there is one."""
    datasets = comparison.datasets
    figure = Figure(figsize=(4.6 * len(datasets) + 2.2, max(2.6, height)), layout="constrained")
    panels = figure.subplots(1, len(datasets), sharex=True, sharey=True, squeeze=False)[0]
    for panel, dataset in zip(panels, datasets, strict=True):
        draw(panel, dataset)
        titled(panel, dataset)
        if lines is not None:
            panel.spines[["right", "top"]].set_visible(False)
            panel.grid(axis=lines, color=PALE, linewidth=0.7)
            panel.set_axisbelow(True)
    if legend:
        named: dict[str, Artist] = {}
        for panel in panels:
            handles, labels = panel.get_legend_handles_labels()
            named |= {label: handle for label, handle in zip(labels, handles, strict=True) if label not in named}
        figure.legend(list(named.values()), list(named), loc="outside right upper", frameon=False)
    return figure


def _draw_along(panel: Axes, place: int, label: str, points: Sequence[tuple[float, SpanResult]]) -> None:
    points = sorted(points, key=lambda point: point[0])
    where, rows = [at for at, _ in points], [row for _, row in points]
    colour, marker, dashes = _style(place)
    panel.errorbar(
        where,
        [row.value for row in rows],
        yerr=_reach(rows),
        color=colour,
        marker=marker,
        linestyle=dashes,
        linewidth=1.4,
        markersize=6,
        capsize=3,
        label=label,
    )
    panel.set_xticks(sorted(set(where)), [f"{at:g}" for at in sorted(set(where))])


def _draw_beside(panel: Axes, place: tuple[int, int], label: str, rows: Sequence[tuple[int, SpanResult]]) -> None:
    """A point and its interval in the line of each run, arms a little below each other."""
    number, count = place
    colour, marker, _ = _style(number)
    shift = 0.6 * ((number + 0.5) / count - 0.5)
    panel.errorbar(
        [row.value for _, row in rows],
        [run + shift for run, _ in rows],
        xerr=_reach([row for _, row in rows]),
        color=colour,
        marker=marker,
        linestyle="none",
        markersize=6,
        capsize=3,
        label=label,
    )


def _at(layer: int, row: Result | None) -> Point:
    """A layer's point, which no line goes through where there is no result."""
    return Point(layer, *((math.nan,) * 3 if row is None else (row.value, row.low, row.high)))


def _reach(rows: Sequence[SpanResult]) -> list[list[float]]:
    """How far intervals reach below and above the values; nowhere where there are none."""
    below = [0.0 if row.low is None else max(0.0, row.value - row.low) for row in rows]
    above = [0.0 if row.high is None else max(0.0, row.high - row.value) for row in rows]
    return [below, above]


def _style(place: int) -> tuple[str, str, str]:
    """Colour, marker and dashes, unlike those of 27 others."""
    turn, number = divmod(place, len(CYCLE))
    return *CYCLE[number], _DASHES[(number + turn) % len(_DASHES)]


def _label(metric: str, arm: str | None = None) -> str:
    of = "" if arm is None else f"{arm}: "
    return _wrapped(f"{of}{METRIC_LABELS.get(metric, title_of(metric))}", 46)


def _wrapped(text: str, width: int = _WIDTH) -> str:
    return textwrap.fill(in_a_line(text, LONGEST), width, break_on_hyphens=False) or text
