"""Maps: a colour for every cell, of signed quantities about zero, and how many cells are beyond the colours."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize

from sae_match.report.drawing import NAME_SIZE, PALE, TEXT_SIZE

# Quantities that have a zero, on both sides of which they can lie. Others are counted as such where they do.
_SIGNED = ("explained_", "delta_loss", "loss_recovered", "effect_agreement", "carried_activation")
# Outliers are so many times as far beyond the quartiles as these are apart (Tukey's far out).
_FAR_OUT, _FEWEST = 3.0, 5
_BRIGHT = 0.55
# Letters that the lowest map has room for beside it.
_NAME = 30


@dataclass(frozen=True)
class Shades:
    """What colours mean.

    Attributes:
        colours: Diverging about zero, or one after the other.
        low, high: Where they end.
        below, above: Values beyond.
        values: Finite values in all.
    """

    colours: Colormap
    low: float
    high: float
    below: int
    above: int
    values: int

    @property
    def said(self) -> str:
        """How many cells are beyond the ends of the colours; nothing where none is."""
        clipped = self.below + self.above
        return f"{clipped} of {self.values} cells are beyond the ends of the colours" if clipped else ""

    def of(self, value: float) -> tuple[float, float, float, float]:
        """Red, green, blue and opacity of a value."""
        red, green, blue, alpha = self.colours(Normalize(self.low, self.high, clip=True)(value))
        return red, green, blue, alpha


def shades_of(metric: str, values: Iterable[float]) -> Shades:
    """Colours for the values of a metric: their ends are the furthest values that are no outliers.

    Args:
        metric: Whether its values are signed follows from its name, or from a negative one among them.
        values: In all maps that share the colours. Those that are not finite have none.
    """
    known = np.array([value for value in values if np.isfinite(value)])
    if metric.startswith(_SIGNED) or (known < 0).any():
        _, high = _inliers(np.abs(known))
        high = high or 1.0
        colours, low = mpl.colormaps["RdBu"], -high
    else:
        low, high = _inliers(known)
        colours = mpl.colormaps["cividis"]
        high = high if high > low else low + 1.0
    return Shades(colours, low, high, int((known < low).sum()), int((known > high).sum()), len(known))


def draw_map(panel: Axes, cells: Float64[np.ndarray, "down across"], shades: Shades) -> None:
    """Every cell in its colour with its value on it; `none` on an empty one, which is pale."""
    colours = shades.colours.with_extremes(bad=PALE)
    panel.imshow(cells, cmap=colours, vmin=shades.low, vmax=shades.high, aspect="auto")
    for (y, x), value in np.ndenumerate(cells):
        known = bool(np.isfinite(value))
        ink = "w" if known and _brightness(shades.of(float(value))) < _BRIGHT else "k"
        text = f"{value:.3f}" if known else "none"
        panel.text(x, y, text, ha="center", va="center", color=ink, fontsize=TEXT_SIZE)


def add_colours(drawn: Sequence[Axes], shades: Shades, label: str) -> None:
    """What the colours of some maps mean, beside them, with how many cells are beyond them."""
    ends: dict[tuple[bool, bool], Literal["neither", "min", "max", "both"]] = {
        (False, False): "neither",
        (True, False): "min",
        (False, True): "max",
        (True, True): "both",
    }
    beyond = ends[shades.below > 0, shades.above > 0]
    colours = ScalarMappable(Normalize(shades.low, shades.high), shades.colours)
    bar = drawn[0].figure.colorbar(colours, ax=list(drawn), extend=beyond)
    said = (" ".join(text.split()) for text in (label, shades.said) if text)
    bar.set_label("\n".join(textwrap.fill(text, _NAME) for text in said), size=NAME_SIZE)
    bar.ax.tick_params(labelsize=TEXT_SIZE)


def _inliers(values: Float64[np.ndarray, " values"]) -> tuple[float, float]:
    """The least and the largest value that is no outlier; of few values none is."""
    if len(values) == 0:
        return 0.0, 1.0
    lower, upper = np.percentile(values, (25, 75))
    reach = _FAR_OUT * (upper - lower)
    if len(values) >= _FEWEST and reach > 0:
        values = values[(values >= lower - reach) & (values <= upper + reach)]
    return float(values.min()), float(values.max())


def _brightness(colour: tuple[float, float, float, float]) -> float:
    red, green, blue, _ = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue
