import numpy as np

from sae_match.evaluation.arm_names import OF_TWO_MODELS
from sae_match.report.validation.pictures.metrics import by_layer, by_span, metric_pictures
from tests.report.made_up import METRICS, PAIRS, VALUES, results, spans

DRAWN = set(VALUES) - {"quantile_0.5", *OF_TWO_MODELS}
NEIGHBOURS = PAIRS[:3]


def lines(picture, panel=0):
    drawn = picture.figure.axes[panel].lines
    return {line.get_label(): line.get_xydata().tolist() for line in drawn if line.get_label()[0] != "_"}


def test_there_is_a_picture_for_each_metric():
    assert {picture.name for picture in metric_pictures(results(NEIGHBOURS), spans([1]))} == set(METRICS)


def test_several_distances_have_pictures_of_their_own():
    expected = {f"{metric}{ending}" for metric in METRICS for ending in ("", "_by_distance")}
    assert {picture.name for picture in metric_pictures(results(), spans([1, 2]))} == expected


def test_a_metric_that_was_not_measured_has_no_picture():
    some = type(results())(row for row in results(NEIGHBOURS) if row.metric != "matching_score")
    assert {picture.name for picture in metric_pictures(some, spans([1]))} == {"delta_loss", "explained_variance"}


def test_a_picture_has_the_numbers_that_it_shows():
    found = by_layer(results(), "delta_loss").rows
    wanted = [row for row in results(NEIGHBOURS) if row.metric == "delta_loss"]
    assert [(row["target_layer"], row["arm"], row["value"]) for row in found] == [
        (row.target_layer, row.arm, row.value) for row in wanted
    ]


def test_lines_are_those_of_neighbours_by_target_layer():
    picture = by_layer(results(), "delta_loss")
    assert [panel.get_title() for panel in picture.figure.axes] == ["prose", "code"]
    for panel in (0, 1):
        assert set(lines(picture, panel)) == DRAWN
        assert lines(picture, panel)["matched"] == [[1, 0.25], [2, 1.25], [3, 2.25]]
    assert lines(by_layer(results(PAIRS[3:]), "delta_loss"))["matched"] == [[2, 0.25], [3, 1.25]]


def test_lines_by_distance_are_means_over_pairs():
    assert lines(by_span(spans(), "delta_loss"))["matched"] == [[1, 0.25], [2, 0.5]]


def test_intervals_are_drawn_where_there_are_some():
    (panel, _) = by_layer(results(), "delta_loss").figure.axes
    assert len(panel.collections) == len(DRAWN)
    bands = {tuple(map(float, np.unique(band.get_paths()[0].vertices[:, 1]))) for band in panel.collections}
    assert (0.125, 0.375, 1.125, 1.375, 2.125, 2.375) in bands
    assert not by_layer(results(half_width=None), "delta_loss").figure.axes[0].collections
