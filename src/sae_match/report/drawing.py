"""How pictures are drawn: colours that any eye tells apart, markers and dashes for print, intervals as bands."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float64
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sae_match.strings import in_a_line

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE = "#999999", "#E5E5E5"

#: Okabe and Ito's palette, with a marker each.
CYCLE = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (ORANGE, "D"), (SKY, "v"), (PURPLE, "P"), (BLACK, "X"))

#: Colour, marker and dashes of each arm.
ARM_STYLES: dict[str, tuple[str, str, str]] = {
    "reconstruct_target": (BLACK, "s", "-"),
    "reconstruct_source": (SKY, "D", "-"),
    "layer_drop": (ORANGE, "v", "-"),
    "mean": (GREY, "1", "--"),
    "linear_map": (BLACK, "P", "--"),
    "linear_map_sae": (SKY, "P", "--"),
    "procrustes": (SKY, "*", "-."),
    "matched": (BLUE, "o", "-"),
    "matched_significant": (BLUE, "p", ":"),
    "matched_unfolded": (PURPLE, "^", "-"),
    "matched_mapped": (GREEN, "p", "-."),
    "swapped": (ORANGE, "h", "--"),
    "swapped_significant": (VERMILION, "H", "-."),
    "composed": (BLUE, "*", "--"),
    "coactivation": (GREEN, "d", "-"),
    "nearest": (PURPLE, "<", "--"),
    "identity": (VERMILION, "x", "-"),
    "random": (GREEN, "+", "--"),
}

METRIC_LABELS = {
    "delta_loss": "loss increase (nats per token, lower is better)",
    "explained_variance": "explained variance of the true residual (higher is better)",
    "matching_score": "matching score (share of activations, higher is better)",
    "explained_variance_by_dimension": "explained variance by dimension (higher is better)",
    "explained_variance_normed": "explained variance behind the norm (higher is better)",
    "loss_recovered": "loss recovered (1: true residual, 0: its mean)",
    "explained_change": "explained change (0: as leaving the layer out)",
}


def look(number: int) -> tuple[str, str]:
    """Colour and marker of a line, unlike those of 48 others."""
    turn, place = divmod(number, len(CYCLE))
    return CYCLE[place][0], CYCLE[(place + turn) % len(CYCLE)][1]


# Characters that a title or a legend has room for in a line, and lines that there are at most.
_TITLE, _LINES = 36, 6
# And the name of an upright axis.
_NAME = 32


class Point(NamedTuple):
    """A number, where it stands, and the ends of its interval."""

    at: int | float
    value: float
    low: float | None = None
    high: float | None = None


#: Inches of a figure. A README shows it 830 pixels wide, 96 an inch: a point of it is a point there.
WIDTH = 8.6
# Of one with a single panel.
_NARROW = 6.2
#: Points of titles, of names of axes and of numbers and legends; nothing is smaller than the last.
TITLE_SIZE, NAME_SIZE, TEXT_SIZE, LEAST_SIZE = 10.0, 9.0, 8.5, 8.0


def panels(count: int, *, most: int = 2, height: float = 3.0, sharey: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure as wide as a README, and so many panels, row by row, at most so many in a row.

    Args:
        count: Panels.
        most: Of a row.
        height: Of a row, in inches.
        sharey: Whether those of a row have one axis.
    """
    columns = min(count, most)
    rows = -(-count // columns)
    figure = Figure(figsize=(_NARROW if count == 1 else WIDTH, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharey="row" if sharey else False, squeeze=False)
    every = [panel for row in grid for panel in row]
    for panel in every[count:]:
        panel.remove()
    for panel in every[:count]:
        set_sizes(panel)
        panel.spines[["right", "top"]].set_visible(False)
        panel.grid(axis="y", color=PALE, linewidth=0.7)
        panel.set_axisbelow(True)
    return figure, every[:count]


def lay_out(figure: Figure) -> None:
    """Give every panel its place for good: a layout is found again each time a figure is drawn, twice for each file.

    All that takes room must stand there.
    """
    if figure.get_layout_engine() is not None:
        with mpl.rc_context({"text.parse_math": False}):
            figure.draw_without_rendering()
        figure.set_layout_engine(None)


def set_sizes(panel: Axes) -> None:
    """Sizes of a panel's numbers and of the names of its axes, the same in every picture."""
    panel.tick_params(labelsize=TEXT_SIZE)
    for axis in (panel.xaxis, panel.yaxis):
        axis.label.set_fontsize(NAME_SIZE)


def metric_label(metric: str) -> str:
    """What the axis of a metric is called, in lines that a panel has room for beside it."""
    return textwrap.fill(METRIC_LABELS[metric], _NAME)


def draw_line(
    panel: Axes, points: Sequence[Point], label: str, style: tuple[str, str, str], width: float = 1.2
) -> None:
    """A line through points, with a band where intervals are known."""
    colour, marker, dashes = style
    label = "\n".join(in_a_line(line, _TITLE) for line in label.split("\n")[:_LINES])
    # A label that begins with an underscore would be left out of the legend.
    label = f" {label}" if label.startswith("_") else label
    where, values = [point.at for point in points], [point.value for point in points]
    panel.plot(where, values, color=colour, marker=marker, linestyle=dashes, linewidth=width, markersize=5, label=label)
    known = [(point.at, point.low, point.high) for point in points if point.low is not None and point.high is not None]
    if len(known) == 1:
        # A band of one point has no width.
        panel.vlines(*known[0], color=colour, linewidth=width)
    elif known:
        at, low, high = zip(*known, strict=True)
        panel.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)


def titled(panel: Axes, title: str) -> None:
    """Give a panel a title, which a user may have chosen, in lines that it has room for."""
    panel.set_title("\n".join(textwrap.wrap(in_a_line(title, _LINES * _TITLE), _TITLE)), fontsize=TITLE_SIZE)


def bin_edges(values: Iterable[float], bins: int) -> Float64[np.ndarray, " edges"]:
    """Edges of so many bins of equal width over finite values, also where all are the same, or there are none."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    # Narrower than this, edges would fall together.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = max(0.5, 1e-3 * abs(low))
        low, high = low - half, high + half
    return np.linspace(low, high, bins + 1)


def set_ticks(panel: Axes, where: Iterable[int | float]) -> None:
    """Ticks at each of these whole numbers, or at some of them where they are many."""
    every = sorted(set(where))
    panel.set_xticks(every[:: max(1, -(-len(every) // 16))])


def set_log(panel: Axes, axis: Literal["x", "y"]) -> None:
    """A logarithmic axis with few plain numbers on it; left as it is where nothing is drawn that it has a place for."""
    if not math.isfinite((panel.xaxis if axis == "x" else panel.yaxis).get_minpos()):
        return
    if axis == "x":
        panel.set_xscale("log")
    else:
        panel.set_yscale("log")
    scale = panel.xaxis if axis == "x" else panel.yaxis
    scale.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    scale.set_minor_formatter(NullFormatter())


def add_legend(figure: Figure, drawn: Sequence[Axes]) -> None:
    """One legend of all panels, below them, in as few lines as there is room for."""
    named: dict[str, Artist] = {}
    for panel in drawn:
        handles, labels = panel.get_legend_handles_labels()
        named |= {label: handle for label, handle in zip(labels, handles, strict=True) if label not in named}
    if not named:
        return
    # Letters are at most 0.65 of their size wide; a line's sample and what lies between columns take another 4.5.
    longest = max(len(line) for name in named for line in name.split("\n")) * 0.65 + 4.5
    columns = int(72 * figure.get_figwidth() / (TEXT_SIZE * longest))
    figure.legend(
        list(named.values()),
        list(named),
        loc="outside lower center",
        frameon=False,
        ncols=min(max(1, columns), len(named)),
        fontsize=TEXT_SIZE,
        columnspacing=1.4,
    )
