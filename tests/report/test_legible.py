"""Pictures show any string, whatever it says."""

import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from sae_match.report.drawing import LEAST_SIZE, WIDTH, Point, add_legend, draw_line, panels, titled
from sae_match.report.legible import legible, make_legible, points_in_readme
from sae_match.report.picture import Picture
from tests.nasty import NASTY
from tests.report.readme import cut_off, overlapping, small_texts


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_picture_shows_any_string_everywhere(text, tmp_path):
    figure, (left, right) = panels(2)
    draw_line(left, [Point(0, 1.0), Point(1, 2.0)], text, ("#000000", "o", "-"))
    titled(left, text)
    short = text[:24]
    left.set(xlabel=short, ylabel=short)
    left.set_xticks([0, 1], [short, "b"])
    right.text(0, 0, text, family="monospace", clip_on=True, in_layout=False)
    add_legend(figure, [left, right])
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


def test_a_text_is_as_large_as_a_readme_shows_it():
    for width, shown in ((WIDTH, 10.0), (2 * WIDTH, 5.0), (WIDTH / 2, 10.0)):
        figure = Figure(figsize=(width, 2))
        assert points_in_readme(figure.text(0, 0, "x", fontsize=10), figure) == shown
    # 830 pixels, 96 an inch.
    assert abs(WIDTH - 830 / 96) < 0.05


def test_texts_that_a_readme_would_show_too_small_are_enlarged():
    figure = Figure(figsize=(2 * WIDTH, 2))
    panel = figure.subplots()
    panel.tick_params(labelsize=4)
    small, large = panel.text(0, 0, "x", fontsize=6), panel.text(0, 0, "y", fontsize=20)
    assert {"x", "0.0"} <= set(small_texts(figure))
    make_legible(figure)
    assert small_texts(figure) == []
    assert (small.get_fontsize(), large.get_fontsize()) == (2 * LEAST_SIZE, 20)


@pytest.mark.parametrize("names", [1, 3, 12])
@pytest.mark.parametrize("length", [3, 30])
def test_a_legend_has_room_below_all_panels(names, length):
    figure, drawn = panels(3, most=2)
    for panel in drawn:
        for number in range(names):
            draw_line(panel, [Point(0, 0.0), Point(1, 1.0)], f"{number}" + length * "n", ("#000000", "o", "-"))
    add_legend(figure, drawn)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == names
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    assert 0 <= box.x0 <= box.x1 <= figure.bbox.width
    assert box.y1 <= min(panel.bbox.y0 for panel in drawn)
    assert overlapping(figure, legend.get_texts()) == []


def test_panels_are_as_wide_as_a_readme_together_and_none_is_left_over():
    for count, most, rows in ((2, 2, 1), (3, 2, 2), (5, 3, 2)):
        figure, drawn = panels(count, most=most, height=2.0)
        assert len(drawn) == len(figure.axes) == count
        assert figure.get_size_inches().tolist() == [WIDTH, 2.0 * rows]
    assert panels(1)[0].get_figwidth() < WIDTH


def test_a_name_that_is_cut_off_is_noticed():
    figure, (panel,) = panels(1, height=2.0)
    panel.set_ylabel("short")
    figure.draw_without_rendering()
    assert cut_off(figure) == []
    panel.set_ylabel(20 * "long ")
    figure.draw_without_rendering()
    assert cut_off(figure) == [20 * "long "]
