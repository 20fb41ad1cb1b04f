import dataclasses

import numpy as np
import pytest

from sae_match.report.validation.pictures.significance import coactivation_by_q, significance


def test_observed_cosines_stand_beside_those_of_random_targets_with_the_cut(outcome):
    (picture,) = significance(outcome)
    assert [(row["source_layer"], row["target_layer"]) for row in picture.rows] == [(2, 3), (3, 4)]
    for row in picture.rows:
        found = outcome.findings.judged[row["source_layer"], row["target_layer"]].significance
        assert row["observed_0.5"] == pytest.approx(float(np.quantile(found.statistic, 0.5)), abs=1e-3)
        assert row["null_0.95"] == found.evidence.quantiles[8]
        assert row["null_0.5"] < row["observed_0.5"]
        assert row["cut"] == found.cut(0.05)
        assert row["significant_share"] == found.share
    against = picture.figure.axes[0]
    assert [tick.get_text() for tick in against.get_xticklabels()] == ["2→3", "3→4"]
    level = [line.get_ydata() for line in against.lines if len(line.get_ydata()) == 2]
    cuts = [ends[0] for ends in level if ends[0] == ends[1]]
    assert cuts == [row["cut"] for row in picture.rows]


def test_shares_stand_by_distance_direct_and_composed(outcome):
    (picture,) = significance(outcome)
    rows = picture.more["by_distance"]
    assert [(row["arm"], row["span"]) for row in rows] == [("matched", 1), ("matched", 2), ("composed", 2)]
    lines = {line.get_label(): line.get_xydata().tolist() for line in picture.figure.axes[1].lines}
    assert lines["matched directly"] == [[row["span"], row["value"]] for row in rows[:2]]
    # A chain of one link is the matching itself.
    assert lines["composed, every link"] == [[rows[0]["span"], rows[0]["value"]], [2, rows[2]["value"]]]
    assert all(row["low"] < row["value"] < row["high"] for row in rows)


def test_coactivation_is_of_the_layers_nearest_to_each_other(outcome):
    (picture,) = coactivation_by_q(outcome)
    assert {row["span"] for row in picture.rows} == {1}
    assert "jaccard_significant" in {row["metric"] for row in picture.rows}


def test_a_run_that_has_judged_nothing_has_neither(outcome):
    bare = dataclasses.replace(outcome, findings=None)
    assert [*significance(bare), *coactivation_by_q(bare)] == []
