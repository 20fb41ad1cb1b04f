"""Pictures show any string, whatever it says."""

import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from sae_match.report.drawing import Point, add_legend, draw_line, panels, titled
from sae_match.report.legible import legible
from sae_match.report.picture import Picture
from tests.nasty import NASTY


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_picture_shows_any_string_everywhere(text, tmp_path):
    figure, (left, right) = panels(2)
    draw_line(left, [Point(0, 1.0), Point(1, 2.0)], text, ("#000000", "o", "-"))
    titled(left, text)
    short = text[:24]
    left.set(xlabel=short, ylabel=short)
    left.set_xticks([0, 1], [short, "b"])
    right.text(0, 0, text, family="monospace", clip_on=True, in_layout=False)
    add_legend(figure, left)
    Picture("any", figure, [{"text": text, text or "empty": 1}]).save(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".png", ".svg", ".csv"}
    assert (len(left.get_legend_handles_labels()[1]) == 1) is (text != "")


def test_what_no_font_has_stands_by_its_number_and_nothing_is_lost():
    shown = legible("\u4e2d = \U00012000", FontProperties())
    assert shown in ("\u4e2d = \\U00012000", "\\u4e2d = \\U00012000")


def test_a_dollar_sign_is_one(tmp_path):
    figure = Figure()
    figure.subplots().set_title("a$x_b_c$")
    Picture("dollar", figure, []).save(tmp_path)
    assert "a$x_b_c$" in (tmp_path / "dollar.svg").read_text()


def test_a_panel_with_nothing_finite_says_so(tmp_path):
    figure, (full, void) = panels(2)
    draw_line(full, [Point(0, 1.0)], "a", ("#000000", "o", "-"))
    draw_line(void, [Point(0, float("nan"))], "a", ("#000000", "o", "-"))
    Picture("void", figure, []).save(tmp_path)
    assert [[text.get_text() for text in panel.texts] for panel in (full, void)] == [[], ["no data"]]
