import math

import numpy as np
import pytest

from sae_match.report.comparison.comparison import chosen
from sae_match.report.comparison.joining import join
from sae_match.report.comparison.pictures import by_run, by_run_and_layer, comparison_pictures, grid
from sae_match.report.runs import find_runs
from tests.report.made_up import METRICS
from tests.report.run_folders import NEIGHBOURS, run_folder

MATCHERS = ("folded", "unfolded")


@pytest.fixture
def compared(tmp_path):
    def make(*runs, arms=()):
        for job, told in enumerate(runs):
            run_folder(tmp_path / str(job), **told)
        (joined,) = join(find_runs([tmp_path])[0])
        return chosen(joined, list(arms), [])

    return make


def lines(panel):
    return {line.get_label(): line.get_xydata() for line in panel.lines if line.get_label()[0] != "_"}


def test_runs_are_in_lines_of_their_own_with_their_intervals(compared):
    picture = by_run(compared({"matcher": "folded"}, {"matcher": "unfolded"}), "delta_loss")
    assert picture.name == "delta_loss_by_run"
    panels = picture.figure.axes
    assert [panel.get_title() for panel in panels] == ["prose", "code"]
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == ["matcher=folded", "matcher=unfolded"]
    (points, *caps) = panels[1].containers[0].lines[0], panels[1].containers[0].lines[2]
    assert points.get_xydata().tolist() == [[0.25, 0.0], [0.25, 1.0]]
    assert [segment[:, 0].tolist() for segment in caps[0][0].get_segments()] == [[0.125, 0.375]] * 2
    assert [(row["run"], row["matcher"], row["value"]) for row in picture.rows if row["dataset"] == "code"] == [
        ("0", "folded", 0.25),
        ("1", "unfolded", 0.25),
    ]


def test_one_setting_of_numbers_is_an_axis_in_their_order(compared):
    picture = by_run(compared(*({"sae__layers__3__l0": l0} for l0 in (22, 3, 6))), "matching_score")
    panel = picture.figure.axes[0]
    assert panel.get_xlabel() == "L0 of layer 3 (sae.layers.3.l0)"
    assert panel.containers[0].lines[0].get_xdata().tolist() == [3, 6, 22]


def test_several_arms_have_a_legend(compared):
    runs = ({"matcher": "folded"}, {"matcher": "unfolded"})
    picture = by_run(compared(*runs, arms=["matched", "random"]), "delta_loss")
    assert [text.get_text() for text in picture.figure.legends[0].get_texts()] == ["matched", "random"]


def test_lines_by_layer_have_gaps_where_results_are_missing(compared):
    lacking = {"matcher": "unfolded", "pairs": [NEIGHBOURS[0], NEIGHBOURS[2]]}
    picture = by_run_and_layer(compared({"matcher": "folded"}, lacking), "delta_loss")
    drawn = lines(picture.figure.axes[0])
    assert drawn["matcher=folded"].tolist() == [[1, 0.25], [2, 1.25], [3, 2.25]]
    at, values = drawn["matcher=unfolded"].T
    assert at.tolist() == [1, 2, 3]
    assert [values[0], values[2]] == [0.25, 2.25]
    assert math.isnan(values[1])
    assert sum(row["matcher"] == "unfolded" for row in picture.rows) == 2 * 2


def test_a_single_pair_of_layers_has_no_lines_over_layers(compared):
    told = [{"matcher": matcher, "pairs": NEIGHBOURS[:1]} for matcher in MATCHERS]
    comparison = compared(*told)
    assert {one.name for one in comparison_pictures(comparison)} == {f"{metric}_by_run" for metric in METRICS}


def test_two_settings_that_form_a_grid_are_a_map(compared):
    told = [{"matcher": matcher, "text__seed": seed, "half_width": None} for matcher in MATCHERS for seed in (7, 1, 3)]
    comparison = compared(*told)
    picture = grid(comparison, "delta_loss")
    panel = picture.figure.axes[0]
    assert panel.get_images()[0].get_array().tolist() == [[0.25] * 3] * 2
    assert [text.get_text() for text in panel.texts] == ["0.250"] * 6
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["1", "3", "7"]
    assert (panel.get_ylabel(), panel.get_xlabel()) == ("matcher", "seed of text (text.seed)")
    expected = {f"{metric}_{kind}" for metric in METRICS for kind in ("by_run", "by_run_and_layer", "grid")}
    assert {one.name for one in comparison_pictures(comparison)} == expected


def test_a_map_of_a_signed_metric_is_centred_at_zero_and_says_what_it_clips(compared):
    told = [{"matcher": matcher, "text__seed": seed} for matcher in MATCHERS for seed in (7, 1, 3)]
    comparison = compared(*told)
    picture = grid(comparison, "delta_loss")
    image = picture.figure.axes[0].get_images()[0]
    assert image.get_clim() == (-0.25, 0.25)
    assert picture.figure.axes[-1].get_ylabel() == "matched: loss increase (nats\nper token, lower is better)"
    low, high = grid(comparison, "matching_score").figure.axes[0].get_images()[0].get_clim()
    assert low == 0.25 < high


def test_a_cell_without_a_run_is_empty(compared):
    told = [{"matcher": matcher, "text__seed": seed} for matcher in (*MATCHERS, "cosine") for seed in (1, 2, 3)]
    image = grid(compared(*told[:-1]), "delta_loss").figure.axes[0].get_images()[0]
    assert np.ma.filled(image.get_array().astype(float), np.nan).ravel().tolist()[:8] == [0.25] * 8
    assert np.ma.getmaskarray(np.ma.masked_invalid(image.get_array()))[2, 2]


def test_settings_that_change_together_or_repeat_are_no_grid(compared):
    assert grid(compared({"text__seed": 0}, {"matcher": "unfolded", "text__seed": 1}), "delta_loss") is None


def test_the_same_settings_twice_are_no_grid(compared):
    told = [{"matcher": matcher, "text__seed": seed} for matcher in MATCHERS for seed in (1, 2)]
    assert grid(compared(*told, told[0]), "delta_loss") is None


def test_more_runs_than_colours_are_drawn_unlike_each_other(compared):
    picture = by_run_and_layer(compared(*({"text__seed": seed} for seed in range(9))), "delta_loss")
    drawn = [line for line in picture.figure.axes[0].lines if line.get_label()[0] != "_"]
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in drawn}) == 9
