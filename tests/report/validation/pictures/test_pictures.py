"""Every picture of a small run: what it shows is what was found."""

import dataclasses
import math

import pytest
import torch
from scipy.stats import spearmanr

from sae_match.evaluation.statistics.results import Result, Results
from sae_match.matching.composition import compare
from sae_match.report.validation.outcome import LayerFacts
from sae_match.report.validation.pictures import PICTURES, all_pictures
from sae_match.report.validation.pictures.agreement import agreements, metric_agreement
from sae_match.report.validation.pictures.costs import pair_error
from sae_match.report.validation.pictures.folding import folding_error
from sae_match.report.validation.pictures.paths import paths
from sae_match.report.validation.pictures.persistence import persistence
from sae_match.report.validation.pictures.quantiles import quantiles
from sae_match.report.validation.pictures.scales import threshold_scale, tracking
from tests.report.readme import cut_off

NAMES = {"threshold_scale", "folding_error", "pair_error", "quantiles", "persistence", "paths", "metric_agreement"}
NAMES |= {"significance"}


def only(draw, outcome):
    (picture,) = draw(outcome)
    return picture


def drawn(panel):
    return {line.get_label(): line.get_xydata().tolist() for line in panel.lines if line.get_label()[0] != "_"}


def test_a_run_with_every_number_has_every_picture(outcome, tmp_path):
    found = list(all_pictures(outcome))
    assert {picture.name for picture in found} >= NAMES
    assert len({picture.name for picture in found}) == len(found)
    for picture in found:
        assert len({tuple(row) for row in picture.rows}) == 1
        named = [name for panel in picture.figure.axes for name in (panel.get_xlabel(), panel.get_ylabel())]
        assert not any("_" in name for name in named), picture.name
        picture.save(tmp_path)
        assert cut_off(picture.figure) == [], picture.name
    assert {file.suffix for file in tmp_path.iterdir()} == {".png", ".svg", ".csv"}


def test_a_run_without_the_numbers_has_no_picture(outcome):
    poor = dataclasses.replace(
        outcome,
        results=outcome.results.select(arm="clean"),
        matchings={pair: dataclasses.replace(found, matchings={}) for pair, found in outcome.matchings.items()},
        tables={},
        layers={layer: dataclasses.replace(facts, threshold=None) for layer, facts in outcome.layers.items()},
        errors={},
        passages=None,
        findings=None,
    )
    assert [picture.name for draw in PICTURES for picture in draw(poor)] == []


def test_thresholds_and_norms_are_shown_by_layer(outcome):
    picture = only(threshold_scale, outcome)
    assert [row["layer"] for row in picture.rows] == [2, 3, 4]
    norm = outcome.results.value(
        source_layer=3, target_layer=4, arm="reconstruct_source", dataset="code", metric="residual_norm"
    )
    assert picture.rows[1]["residual_norm_code"] == norm
    assert picture.rows[1]["mean_threshold"] == pytest.approx(float(outcome.layers[3].threshold.mean()))
    assert [point[0] for point in drawn(picture.figure.axes[0])["prose"]] == [2, 3, 4]


def facts(threshold, mean, active=None):
    active = torch.ones(len(mean)) if active is None else torch.tensor(active)
    return LayerFacts(
        torch.tensor(threshold).double(), torch.ones(len(mean)).double(), active.long(), torch.tensor(mean).double(), 9
    )


def test_tracking_is_the_rank_correlation_of_live_features():
    generator = torch.Generator().manual_seed(0)
    threshold, noise = (torch.rand(200, generator=generator) for _ in range(2))
    mean, active = threshold + noise, (noise < 0.9).long()
    found = tracking(facts(threshold.tolist(), mean.tolist(), active.tolist()))
    expected = spearmanr(threshold[active > 0], mean[active > 0]).statistic
    assert found.value == pytest.approx(expected)
    assert found.features == int(active.sum())
    assert -1 < found.low < found.value < found.high < 1


def test_the_interval_of_a_correlation_covers_the_truth_as_often_as_it_says():
    """Normal variables of correlation r have a rank correlation of 6 / pi asin(r / 2)."""
    generator, r, inside = torch.Generator().manual_seed(1), 0.6, 0
    truth = 6 / math.pi * math.asin(r / 2)
    for _ in range(400):
        x, y = torch.randn(2, 80, generator=generator).double()
        found = tracking(facts(x.tolist(), (r * x + math.sqrt(1 - r**2) * y).tolist()))
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_nothing_is_said_of_thresholds_that_do_not_differ():
    found = tracking(facts([1.0] * 10, list(range(10))))
    assert math.isnan(found.value)
    assert tracking(facts([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])).value == pytest.approx(1)


def test_folding_lowers_the_error_of_the_decoder(outcome):
    picture = only(folding_error, outcome)
    lines = drawn(picture.figure.axes[0])
    assert lines["matched"] == [
        [3, outcome.errors[(2, 3), "matched"]["W_dec"]],
        [4, outcome.errors[(3, 4), "matched"]["W_dec"]],
    ]
    for (_, folded), (_, unfolded), (_, vanilla) in zip(
        lines["matched"], lines["matched unfolded"], lines["vanilla (identity)"], strict=True
    ):
        assert folded < unfolded < vanilla
    assert len(picture.rows) == 3 * 3 * 2


def test_costs_are_counted_once_a_pair_and_examples_are_the_ends(outcome):
    picture = only(pair_error, outcome)
    assert sum(row["pairs"] for row in picture.rows) == 1024
    examples = picture.more["examples"]
    assert [row["end"] for row in examples] == ["cheapest"] * 5 + ["costliest"] * 5
    costs = [row["cost"] for row in examples]
    assert costs == sorted(costs)
    matched = outcome.matchings[3, 4].matchings["matched"]
    for row in examples:
        assert matched.permutation[row["source_feature"]] == row["target_feature"]
        assert row["cost"] == pytest.approx(float(matched.pair_cost[row["source_feature"]]))
        assert row["source_fires_on"] == outcome.passages.label(3, row["source_feature"]) != ""


def test_quantiles_are_lines_between_all_pairs_and_none(outcome):
    picture = only(quantiles, outcome)
    lines = drawn(picture.figure.axes[0])
    assert list(lines) == ["none (source SAE)", "cheapest 50%", "all pairs (matched)"]
    expected = outcome.results.value(
        source_layer=2, target_layer=3, arm="quantile_0.5", dataset="prose", metric="explained_variance"
    )
    assert lines["cheapest 50%"][0] == [3, expected]
    assert {row["source_layer"] for row in picture.rows} == {2, 3}


def test_persistence_is_by_distance_exact_and_composed(outcome):
    picture = only(persistence, outcome)
    lines = drawn(picture.figure.axes[0])
    exact, composed = lines["from layer 2, exact"], lines["from layer 2, composed"]
    assert [at for at, _ in exact] == [at for at, _ in composed] == [1, 2]
    assert exact[0] == composed[0]
    found = outcome.matchings[2, 4].matchings
    (agreement,) = [row for row in picture.rows if row["metric"] == "agreement"]
    assert agreement["value"] == compare(found["composed"], found["matched"]).agreement


def test_paths_follow_the_matchings(outcome):
    picture = only(paths, outcome)
    assert len(picture.rows) == 8 * 3
    for start, middle, end in zip(*(picture.rows[at::3] for at in range(3)), strict=True):
        assert (start["layer"], middle["layer"], end["layer"]) == (2, 3, 4)
        for before, after in ((start, middle), (middle, end)):
            matched = outcome.matchings[before["layer"], after["layer"]].matchings["matched"]
            assert matched.permutation[before["feature"]] == after["feature"]
            assert after["cost"] == pytest.approx(float(matched.pair_cost[before["feature"]]))
            assert 0 <= after["jaccard"] <= 1
        assert start["cost"] is start["jaccard"] is None
        assert min(step["active"] for step in (start, middle, end)) > 0


def test_agreement_is_the_rank_correlation_with_the_loss_over_arms_and_pairs(outcome):
    picture = only(metric_agreement, outcome)
    results = outcome.results.select(dataset="prose")
    at = {(row.arm, row.source_layer, row.target_layer): row.value for row in results.select(metric="delta_loss")}
    for metric in ("explained_variance", "explained_variance_by_dimension", "explained_variance_normed"):
        values = {(row.arm, row.source_layer, row.target_layer): row.value for row in results.select(metric=metric)}
        (row,) = (
            row
            for row in picture.rows
            if (row["dataset"], row["arms"], row["metric"]) == ("prose", "every arm", metric)
        )
        expected = spearmanr([values[key] for key in at], [-loss for loss in at.values()]).statistic
        assert row["rank_correlation"] == pytest.approx(expected)
        assert row["points"] == len(at)
        assert row["low"] <= row["rank_correlation"] <= row["high"]
    assert {row["arms"] for row in picture.rows if row["metric"] == "matching_score"} == {"arms that match"}


def agreeing(metric, values):
    """Results of arms at two pairs of layers, the loss of an arm being its number."""
    rows = []
    for number, value in enumerate(values):
        for source in (0, 1):
            at = (source, source + 1, f"arm_{number}", "prose")
            rows += [
                Result(*at, "delta_loss", float(number), None, None, 1, 1),
                Result(*at, "explained_variance", -float((number * 7) % 5), None, None, 1, 1),
                Result(*at, metric, float(value), None, None, 1, 1),
            ]
    return {row.metric: row for row in agreements(Results(rows))}


def test_a_metric_that_falls_as_the_loss_rises_agrees_wholly():
    row = agreeing("explained_variance_normed", [-(number**3) for number in range(6)])["explained_variance_normed"]
    assert (row.low, row.rank_correlation, row.high) == pytest.approx((1, 1, 1))
    assert row.over_explained_variance > 0
    against = agreeing("explained_variance_normed", range(6))["explained_variance_normed"]
    assert against.rank_correlation == pytest.approx(-1)


def test_nothing_is_said_of_few_arms_or_of_one_metric():
    assert agreeing("explained_variance_normed", [1, 2]) == {}
    assert agreeing("jaccard", range(6)) == {}
