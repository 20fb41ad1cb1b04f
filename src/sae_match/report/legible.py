"""Every text of a picture as it is, and large enough: no mathematics, nothing that acts, a font for every character."""

from contextlib import suppress
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

from sae_match.report.drawing import GREY, LEAST_SIZE, WIDTH
from sae_match.strings import escaped, visible

# Characters of a line that a picture has room for.
_LONGEST_LINE, _LONGEST_NUMBERED = 100, 48
# A font that has a box for every character.
_BOXES = "Last Resort"


def make_legible(figure: Figure) -> None:
    """Let a picture show what strings of users and files say, whatever they say; an empty panel says that it is.

    Texts that would be smaller than `LEAST_SIZE` in a README are enlarged.
    """
    for panel in figure.axes:
        _mark_empty(panel)
        for axis in (panel.xaxis, panel.yaxis):
            _make_ticks_legible(axis)
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        if (points := points_in_readme(text, figure)) < LEAST_SIZE:
            text.set_fontsize(float(text.get_fontsize()) * LEAST_SIZE / points)
        font = text.get_fontproperties()
        if text.get_text():
            text.set_text(legible(text.get_text(), font))
        if further := _further_fonts(text.get_text(), font):
            text.set_fontfamily([*font.get_family(), *further])


def points_in_readme(text: Text, figure: Figure) -> float:
    """Size of a text, in points, where a README shows its figure, no wider than `WIDTH`."""
    return float(text.get_fontsize()) * min(1.0, WIDTH / float(figure.get_figwidth()))


def legible(text: str, font: FontProperties) -> str:
    """A text that a font, or another one of this machine, can draw: other characters stand by their numbers."""
    return "\n".join(_legible_line(line, font) for line in text.split("\n"))


def _legible_line(line: str, font: FontProperties) -> str:
    seen = visible(line).replace("\t", " ")
    seen = seen if len(seen) <= _LONGEST_LINE else f"{seen[: _LONGEST_LINE - 1]}…"
    drawn = "".join(one if _has(font, one) or _font_with(one) else escaped(one) for one in seen)
    # Numbers are longer than characters: what a line was made to fit is not to overflow.
    most = max(len(seen), _LONGEST_NUMBERED)
    return drawn if len(drawn) <= most else f"{drawn[: most - 1]}…"


def _further_fonts(text: str, font: FontProperties) -> list[str]:
    missing = (character for character in text if character != "\n" and not _has(font, character))
    return list(dict.fromkeys(name for character in missing if (name := _font_with(character))))


def _has(font: FontProperties, character: str) -> bool:
    return character < "\x7f" or bool(get_font(findfont(font)).get_char_index(ord(character)))


@cache
def _font_with(character: str) -> str | None:
    """Name of a font of this machine that has a character; none where no font has it."""
    for entry in sorted(fontManager.ttflist, key=lambda entry: ("Sans" not in entry.name, entry.name, entry.fname)):
        if entry.name.startswith(_BOXES):
            continue
        # A font in colours, or a damaged one, cannot be drawn with.
        with suppress(RuntimeError, OSError, ValueError):
            if get_font(entry.fname).get_char_index(ord(character)):
                return str(entry.name)
    return None


def _make_ticks_legible(axis: Axis) -> None:
    """Ticks take their texts from a formatter whenever they are drawn."""
    formatter = axis.get_major_formatter()
    if isinstance(formatter, FuncFormatter | FixedFormatter):
        font = axis.get_label().get_fontproperties()
        axis.set_major_formatter(FuncFormatter(lambda value, place: legible(formatter(value, place), font)))
        # Asked for, so that they are there when fonts are looked for.
        axis.get_ticklabels()


def _mark_empty(panel: Axes) -> None:
    """Say in a panel on which nothing finite is drawn that there is nothing to show."""
    if not panel.get_visible() or panel.texts or panel.images or np.isfinite(panel.dataLim.get_points()).all():
        return
    panel.text(0.5, 0.5, "no data", transform=panel.transAxes, ha="center", va="center", color=GREY)
