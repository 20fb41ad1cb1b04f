"""What a README makes of a picture: how large its texts are there, and whether they stand on each other."""

from itertools import combinations

from matplotlib.text import Text

from sae_match.report.drawing import LEAST_SIZE
from sae_match.report.legible import points_in_readme


def small_texts(figure):
    """Texts that a README shows too small; of the figure as it was drawn, before anything is enlarged."""
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            axis.get_ticklabels()
    shown = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    return [text.get_text() for text in shown if points_in_readme(text, figure) < LEAST_SIZE - 1e-9]


def overlapping(figure, texts):
    """Pairs of texts of which one stands on the other."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
    return [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]


def cut_off(figure):
    """Names of axes that reach beyond a figure."""
    # What was saved last had other dots an inch.
    figure.draw_without_rendering()
    named = [axis.label for panel in figure.axes for axis in (panel.xaxis, panel.yaxis) if axis.label.get_text()]
    boxes = {label.get_text(): label.get_window_extent() for label in named}
    # In hundredths of an inch.
    box, most = figure.bbox, figure.dpi / 100
    return [
        name
        for name, one in boxes.items()
        if min(one.x0, one.y0) < -most or one.x1 > box.x1 + most or one.y1 > box.y1 + most
    ]


def labels(panel):
    """The labels at the ends of a panel's lines."""
    return [text for text in panel.texts if hasattr(text, "xyann")]
