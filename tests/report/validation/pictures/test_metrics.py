from functools import cache

import numpy as np
import pytest

from sae_match.evaluation.arm_names import ARMS, MATCHED, SWAPPED, SWAPPED_SIGNIFICANT
from sae_match.report.drawing import ARM_STYLES
from sae_match.report.validation.pictures.metrics import by_layer, by_span, main_arms, metric_pictures
from tests.report.made_up import METRICS, PAIRS, results, spans
from tests.report.readme import labels, overlapping, small_texts

MAIN = {"matched", "reconstruct_target", "layer_drop", "swapped_significant", "nearest"}
CONTROLS = {*ARMS} - MAIN | {"matched"}
NEIGHBOURS = PAIRS[:3]
ENDINGS = ("", "_controls", "_by_distance", "_by_distance_controls")


@cache
def of_all(metric):
    """The pictures of a metric of all pairs of layers, drawn once."""
    return tuple(by_layer(results(), metric))


@cache
def by_distance():
    return tuple(by_span(spans(), "delta_loss"))


def lines(picture, panel=0):
    drawn = picture.figure.axes[panel].lines
    return {line.get_label(): line.get_xydata().tolist() for line in drawn if line.get_label()[0] != "_"}


def words(arms):
    return {arm.replace("_", " ") for arm in arms}


def test_there_are_two_pictures_of_a_metric():
    expected = {f"{metric}{ending}" for metric in METRICS[:1] for ending in ENDINGS[:2]}
    assert {picture.name for picture in metric_pictures(results(NEIGHBOURS), spans([1]), METRICS[:1])} == expected


def test_several_distances_have_pictures_of_their_own():
    expected = {f"{metric}{ending}" for metric in METRICS[:1] for ending in ENDINGS}
    assert {picture.name for picture in metric_pictures(results(), spans([1, 2]), METRICS[:1])} == expected


def test_a_metric_that_was_not_measured_has_no_picture():
    few = [row for row in results(NEIGHBOURS) if row.metric != "matching_score" and row.arm == "matched"]
    drawn = {picture.name for picture in metric_pictures(type(results())(few), spans([1]))}
    assert drawn == {"delta_loss", "explained_variance"}


def test_every_arm_but_quantiles_has_a_look():
    assert set(ARM_STYLES) == set(ARMS)
    assert len(set(ARM_STYLES.values())) == len(ARM_STYLES)


def test_five_arms_are_in_the_main_picture_and_controls_in_another():
    main, controls = of_all("delta_loss")
    assert (main.name, controls.name) == ("delta_loss", "delta_loss_controls")
    for picture, arms in ((main, MAIN), (controls, CONTROLS)):
        assert {row["arm"] for row in picture.rows} == arms
        for panel in (0, 1):
            assert set(lines(picture, panel)) == words(arms)


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        (ARMS, MAIN),
        # `swapped` stands for itself only where the better one is missing.
        ({*ARMS} - {SWAPPED_SIGNIFICANT}, MAIN - {SWAPPED_SIGNIFICANT} | {SWAPPED}),
        ({MATCHED, SWAPPED, "linear_map"}, {MATCHED, SWAPPED, "linear_map"}),
        ({"matched", "nearest", "coactivation", "random", "identity"}, None),
        ({"mean", "quantile_0.5"}, set()),
    ],
)
def test_a_further_arm_takes_the_place_of_one_that_was_not_measured(measured, shown):
    found = main_arms(measured)
    assert len(found) <= 5
    assert set(found) == (set(measured) if shown is None else shown)


def test_a_run_with_few_arms_has_no_controls():
    few = type(results())(row for row in results(NEIGHBOURS) if row.arm in ("matched", "random"))
    (picture,) = by_layer(few, "delta_loss")
    assert set(lines(picture)) == {"matched", "random"}
    alone = type(results())(row for row in results(NEIGHBOURS) if row.arm == "mean")
    assert [picture.name for picture in by_layer(alone, "delta_loss")] == ["delta_loss_controls"]


def test_labels_stand_at_the_lines_and_none_on_another():
    for picture in (*of_all("delta_loss"), *by_distance()):
        assert not picture.figure.legends
        for number, panel in enumerate(picture.figure.axes):
            found = labels(panel)
            assert {text.get_text() for text in found} == set(lines(picture, number))
            assert overlapping(picture.figure, found) == []
        assert small_texts(picture.figure) == []


def test_a_picture_has_the_numbers_that_it_shows():
    for picture in of_all("delta_loss"):
        drawn = {row["arm"] for row in picture.rows}
        wanted = [row for row in results(NEIGHBOURS) if row.metric == "delta_loss" and row.arm in drawn]
        assert [(row["target_layer"], row["arm"], row["value"]) for row in picture.rows] == [
            (row.target_layer, row.arm, row.value) for row in wanted
        ]


def test_lines_are_those_of_neighbours_by_target_layer():
    for picture in of_all("delta_loss"):
        assert [panel.get_title() for panel in picture.figure.axes] == ["prose", "code"]
        for panel in (0, 1):
            assert lines(picture, panel)["matched"] == [[1, 0.25], [2, 1.25], [3, 2.25]]
    further, _ = by_layer(results(PAIRS[3:]), "delta_loss")
    assert lines(further)["matched"] == [[2, 0.25], [3, 1.25]]


def test_lines_by_distance_are_means_over_pairs():
    for picture in by_distance():
        assert lines(picture)["matched"] == [[1, 0.25], [2, 0.5]]


def test_axes_are_named_in_words_with_units():
    named = {
        name: {axis for panel in picture.figure.axes for axis in (panel.get_xlabel(), panel.get_ylabel()) if axis}
        for name in METRICS
        for picture in of_all(name)
    }
    assert named["delta_loss"] == {"target layer", "loss increase (nats per token,\nlower is better)"}
    assert "explained variance of the true\nresidual (higher is better)" in named["explained_variance"]
    assert not any("_" in name for names in named.values() for name in names)


def test_intervals_are_drawn_where_there_are_some():
    main, (bare, _) = of_all("delta_loss")[0], by_layer(results(half_width=None), "delta_loss")
    panel = main.figure.axes[0]
    assert len(panel.collections) == len(MAIN)
    bands = {tuple(map(float, np.unique(band.get_paths()[0].vertices[:, 1]))) for band in panel.collections}
    assert (0.125, 0.375, 1.125, 1.375, 2.125, 2.375) in bands
    assert not bare.figure.axes[0].collections


def test_the_interval_of_a_single_pair_of_layers_is_a_stroke():
    (main, _) = by_layer(results(PAIRS[:1]), "delta_loss")
    strokes = {tuple(stroke.get_segments()[0][:, 1]) for stroke in main.figure.axes[0].collections}
    assert (0.125, 0.375) in strokes
