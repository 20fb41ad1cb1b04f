"""Names of lines at their ends, in the lines' colours, none on another."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.transforms import ScaledTranslation
from scipy.optimize import isotonic_regression

from sae_match.report.drawing import TEXT_SIZE, lay_out
from sae_match.report.legible import make_legible

# Inches between a panel and the labels beside it; what of a label's height is left free between two of them.
_AWAY, _FREE = 0.2, 0.12
# Of a line's colour, how much of it is left in letters: pale ones cannot be read on white.
_DARK = 0.65
# It begins at the label's edge, where nothing of it is to be hidden: looking for that takes longer than all else.
_LEADER = {"arrowstyle": "-", "linewidth": 0.8, "shrinkA": 3, "shrinkB": 4, "relpos": (0, 0.5), "patchA": None}


def label_ends(figure: Figure, drawn: Sequence[Axes]) -> list[Annotation]:
    """Write the label of every line beside its last point, moved as little as keeps them apart; returns the labels.

    What is drawn afterwards must not move the limits of a panel, nor take room.

    Args:
        figure: Of the panels.
        drawn: Those whose lines have labels; such as begin with an underscore are none.
    """
    beside = {panel: [_label(panel, line) for line in panel.lines if _is_labelled(line)] for panel in drawn}
    # Before texts are measured: a dollar sign is one, and every character has a font.
    make_legible(figure)
    # Labels take their room beside the panels; only then is known how high these are.
    lay_out(figure)
    for panel, labels in beside.items():
        _move_apart(panel, labels)
    return [label for labels in beside.values() for label in labels]


def spaced(wanted: Sequence[float], gap: float, low: float, high: float) -> Float64[np.ndarray, " places"]:
    """Places nearest to the wanted ones, by least squares, of which any two are at least `gap` apart.

    They lie between two ends where there is room, else evenly about the middle. Their order is that of what is wanted.
    """
    places = np.empty(len(wanted))
    if len(wanted) == 0:
        return places
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    room = high - low - steps[-1]
    if room < 0:
        found = (low + high - steps[-1]) / 2 + steps
    else:
        free = isotonic_regression(np.asarray(wanted, dtype=np.float64)[order] - steps).x
        found = np.clip(free, low, low + room) + steps
    places[order] = found
    return places


def _is_labelled(line: Line2D) -> bool:
    return not str(line.get_label()).startswith("_") and bool(np.isfinite(line.get_xydata()).all(axis=1).any())


def _label(panel: Axes, line: Line2D) -> Annotation:
    """A label beside a panel, with a fine line that leads to the end of its own."""
    points = np.asarray(line.get_xydata())
    last = points[np.isfinite(points).all(axis=1)][-1]
    # Asked for, limits are what they will be.
    panel.get_xlim(), panel.get_ylim()
    # In parts of the panel: no number is too large there.
    at = np.clip(panel.transAxes.inverted().transform(panel.transData.transform(last)), 0, 1)
    colour = to_rgb(line.get_color())
    return panel.annotate(
        str(line.get_label()),
        xy=(at[0], at[1]),
        xycoords="axes fraction",
        xytext=(1.0, at[1]),
        textcoords=panel.transAxes + ScaledTranslation(_AWAY, 0, panel.figure.dpi_scale_trans),
        color=tuple(_DARK * part for part in colour),
        fontsize=TEXT_SIZE,
        va="center_baseline",
        annotation_clip=False,
        arrowprops={"color": colour, **_LEADER},
    )


def _move_apart(panel: Axes, labels: Sequence[Annotation]) -> None:
    if not labels:
        return
    # A label's own extent has that of its fine line in it.
    tallest = max(Text.get_window_extent(label).height for label in labels)
    gap = (1 + _FREE) * tallest / panel.bbox.height
    places = spaced([float(label.xyann[1]) for label in labels], gap, gap / 2, 1 - gap / 2)
    for label, place in zip(labels, places, strict=True):
        label.xyann = (1.0, float(place))
