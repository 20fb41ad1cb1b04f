import numpy as np

from sae_match.report.figures import by_layer, by_span, draw
from tests.report.made_up import METRICS, PAIRS, VALUES, results, spans

DRAWN = set(VALUES) - {"quantile_0.5"}
NEIGHBOURS = PAIRS[:3]


def lines(figure, panel=0):
    return {
        line.get_label(): line.get_xydata().tolist() for line in figure.axes[panel].lines if line.get_label()[0] != "_"
    }


def test_figures_are_pictures_one_a_metric(tmp_path):
    files = draw(results(NEIGHBOURS), spans([1]), tmp_path / "figures")
    assert {file.name for file in files} == {f"{metric}.png" for metric in METRICS}
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {file.name for file in files}


def test_several_distances_have_figures_of_their_own(tmp_path):
    files = draw(results(), spans([1, 2]), tmp_path)
    expected = {f"{metric}{ending}.png" for metric in METRICS for ending in ("", "_by_distance")}
    assert {file.name for file in files} == expected


def test_a_metric_that_was_not_measured_has_no_figure(tmp_path):
    some = type(results())(row for row in results(NEIGHBOURS) if row.metric != "matching_score")
    assert {file.stem for file in draw(some, spans([1]), tmp_path)} == {"delta_loss", "explained_variance"}


def test_lines_are_those_of_neighbours_by_target_layer():
    figure = by_layer(results(), "delta_loss")
    assert [panel.get_title() for panel in figure.axes] == ["prose", "code"]
    for panel in (0, 1):
        assert set(lines(figure, panel)) == DRAWN
        assert lines(figure, panel)["matched"] == [[1, 0.25], [2, 1.25], [3, 2.25]]
    assert lines(by_layer(results(PAIRS[3:]), "delta_loss"))["matched"] == [[2, 0.25], [3, 1.25]]


def test_lines_by_distance_are_means_over_pairs():
    assert lines(by_span(spans(), "delta_loss"))["matched"] == [[1, 0.25], [2, 0.5]]


def test_intervals_are_drawn_where_there_are_some():
    (panel, _) = by_layer(results(), "delta_loss").axes
    assert len(panel.collections) == len(DRAWN)
    bands = {tuple(map(float, np.unique(band.get_paths()[0].vertices[:, 1]))) for band in panel.collections}
    assert (0.125, 0.375, 1.125, 1.375, 2.125, 2.375) in bands
    assert not by_layer(results(half_width=None), "delta_loss").axes[0].collections
