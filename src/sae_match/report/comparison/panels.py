"""Panels of pictures of runs side by side, what is drawn on them, and labels that they have room for."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sae_match.evaluation.statistics.results import SpanResult
from sae_match.report.comparison.comparison import Comparison, title_of
from sae_match.report.drawing import CYCLE, METRIC_LABELS, PALE, add_legend, panels, titled
from sae_match.strings import LONGEST, in_a_line

_DASHES = ("-", "--", "-.", ":")
# Letters of a label before it goes on in the next line.
_WIDTH = 34
_Draw = Callable[[Axes, str], None]


def side_by_side(
    comparison: Comparison, draw: _Draw, height: float, *, legend: bool, lines: Literal["x", "y"] | None
) -> Figure:
    """A panel a dataset, drawn on, with the same axes; fine lines across one, a legend below if there is one."""
    figure, drawn = panels(len(comparison.datasets), height=max(2.4, height))
    for panel, dataset in zip(drawn, comparison.datasets, strict=True):
        if panel is not drawn[0]:
            panel.sharex(drawn[0])
        draw(panel, dataset)
        titled(panel, dataset)
        panel.grid(visible=False)
        if lines is None:
            panel.spines[["right", "top"]].set_visible(True)
        else:
            panel.grid(axis=lines, color=PALE, linewidth=0.7)
    if legend:
        add_legend(figure, drawn)
    return figure


def draw_along(panel: Axes, place: int, label: str, points: Sequence[tuple[float, SpanResult]]) -> None:
    """Points and their intervals where a setting says, with a line through them."""
    points = sorted(points, key=lambda point: point[0])
    where, rows = [at for at, _ in points], [row for _, row in points]
    colour, marker, dashes = style(place)
    panel.errorbar(
        where,
        [row.value for row in rows],
        yerr=reach(rows),
        color=colour,
        marker=marker,
        linestyle=dashes,
        linewidth=1.4,
        markersize=6,
        capsize=3,
        label=label,
    )
    panel.set_xticks(sorted(set(where)), [f"{at:g}" for at in sorted(set(where))])


def draw_beside(
    panel: Axes, place: tuple[int, int], label: str, rows: Sequence[tuple[int, SpanResult]], opaque: float = 1.0
) -> None:
    """A point and its interval in the line of each run, arms a little below each other."""
    number, count = place
    colour, marker, _ = style(number)
    shift = 0.6 * ((number + 0.5) / count - 0.5)
    panel.errorbar(
        [row.value for _, row in rows],
        [run + shift for run, _ in rows],
        xerr=reach([row for _, row in rows]),
        color=colour,
        marker=marker,
        linestyle="none",
        markersize=6,
        capsize=3,
        alpha=opaque,
        label=label,
    )


def style(place: int) -> tuple[str, str, str]:
    """Colour, marker and dashes, unlike those of 27 others."""
    turn, number = divmod(place, len(CYCLE))
    return *CYCLE[number], _DASHES[(number + turn) % len(_DASHES)]


def axis_label(metric: str, arm: str | None = None) -> str:
    """What an axis says of a metric, and of which arm."""
    of = "" if arm is None else f"{arm.replace('_', ' ')}: "
    return wrapped(f"{of}{METRIC_LABELS.get(metric, title_of(metric))}", 46)


def wrapped(text: str, width: int = _WIDTH) -> str:
    """A text in lines of so many letters."""
    return textwrap.fill(in_a_line(text, LONGEST), width, break_on_hyphens=False) or text


def reach(rows: Sequence[SpanResult]) -> list[list[float]]:
    """How far intervals reach below and above the values; nowhere where there are none."""
    below = [0.0 if row.low is None else max(0.0, row.value - row.low) for row in rows]
    above = [0.0 if row.high is None else max(0.0, row.high - row.value) for row in rows]
    return [below, above]
