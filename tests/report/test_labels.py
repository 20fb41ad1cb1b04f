"""Labels at the ends of lines: apart, beside their lines, within their picture."""

import itertools

import numpy as np
import pytest
from matplotlib.text import Text
from scipy.optimize import minimize

from sae_match.report.drawing import Point, draw_line, panels
from sae_match.report.labels import label_ends, spaced
from tests.nasty import NASTY
from tests.report.readme import labels, overlapping, small_texts


def drawn(*ends, count=1):
    """Panels with a line that ends at each of these."""
    figure, some = panels(count, height=3.0)
    for panel in some:
        for number, end in enumerate(ends):
            draw_line(panel, [Point(0, 0.0), Point(1, end)], f"line {number}", ("#0072B2", "o", "-"))
    return figure, some


def by_search(wanted, gap, low, high):
    """The same by a general solver, over every order of places."""
    best = None
    for order in itertools.permutations(range(len(wanted))):
        apart = [{"type": "ineq", "fun": lambda x, a=a, b=b: x[b] - x[a] - gap} for a, b in itertools.pairwise(order)]
        start = np.empty(len(wanted))
        start[list(order)] = np.linspace(low, high, len(wanted))
        ends = [(low, high)] * len(wanted)
        found = minimize(lambda x: np.square(x - np.array(wanted)).sum(), start, bounds=ends, constraints=apart)
        if found.success and (best is None or found.fun < best.fun - 1e-9):
            best = found
    return best.fun


@pytest.mark.parametrize("seed", range(6))
def test_places_are_the_nearest_that_are_apart(seed):
    wanted = np.random.default_rng(seed).random(4).tolist()
    places = spaced(wanted, 0.2, 0.05, 0.95)
    assert (np.diff(np.sort(places)) >= 0.2 - 1e-9).all()
    assert places.min() >= 0.05 - 1e-9
    assert places.max() <= 0.95 + 1e-9
    assert (np.argsort(places) == np.argsort(wanted)).all()
    assert np.square(places - wanted).sum() == pytest.approx(by_search(wanted, 0.2, 0.05, 0.95), abs=1e-5)


def test_what_is_apart_stays_and_what_has_no_room_stands_evenly_about_the_middle():
    assert spaced([0.1, 0.9, 0.5], 0.2, 0.0, 1.0).tolist() == [0.1, 0.9, 0.5]
    assert spaced([0.0, 0.0, 1.0], 1.0, 0.0, 1.0).tolist() == [-0.5, 0.5, 1.5]
    assert spaced([], 1.0, 0.0, 1.0).tolist() == []


@pytest.mark.parametrize("ends", [(1, 1, 1, 1, 1), (0, 0.01, 0.02, 1, 0.99), (1e-300, 1e300, -1e300), tuple(range(12))])
def test_no_label_stands_on_another(ends):
    figure, some = drawn(*map(float, ends), count=2)
    found = label_ends(figure, some)
    assert len(found) == 2 * len(ends)
    for panel in some:
        assert overlapping(figure, labels(panel)) == []
    # They would, if they stood where their lines end.
    if ends[0] == 1:
        for label in found:
            label.xyann = label.xy
        assert len(overlapping(figure, labels(some[0]))) == 10
    assert small_texts(figure) == []


def test_labels_are_within_the_picture_beside_the_panel_and_in_the_order_of_the_ends():
    figure, some = drawn(0.2, 0.9, 0.3, 0.21)
    label_ends(figure, some)
    figure.draw_without_rendering()
    boxes = {text.get_text(): Text.get_window_extent(text) for text in labels(some[0])}
    assert sorted(boxes, key=lambda name: boxes[name].y0) == ["line 0", "line 3", "line 2", "line 1"]
    for box in boxes.values():
        assert some[0].bbox.x1 < box.x0
        assert box.x1 <= figure.bbox.x1


def test_a_line_without_an_end_and_one_without_a_label_have_none():
    figure, some = drawn(float("nan"))
    some[0].axhline(0)
    assert [label.get_text() for label in label_ends(figure, some)] == ["line 0"]
    figure, (panel,) = panels(1)
    draw_line(panel, [Point(0, float("nan"))], "nothing", ("#0072B2", "o", "-"))
    assert label_ends(figure, [panel]) == []


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_any_string_can_be_a_label(text):
    figure, (panel,) = panels(1)
    draw_line(panel, [Point(0, 0.0)], text, ("#0072B2", "o", "-"))
    panel.set_title("$x_b_c$")
    label_ends(figure, [panel])
