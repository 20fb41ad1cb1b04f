import math

import numpy as np
import pytest
import torch

from sae_match.evaluation.significance import over_features
from sae_match.evaluation.significance.over_features import (
    Estimate,
    Sums,
    median_over_features,
    share_over_features,
    sums_over_features,
)


def measured(count, share, seed=0):
    values = (torch.rand(count, generator=torch.Generator().manual_seed(seed)) < share).double()
    return {"share": (values, torch.ones(count, dtype=torch.bool))}


def test_the_sample_itself_is_the_plain_mean_over_its_features():
    values = torch.tensor([1.0, math.nan, 3.0, 100.0], dtype=torch.float64)
    part = torch.tensor([True, False, True, False])
    sums = sums_over_features({"one": (values, part), "none": (values, torch.zeros(4, dtype=torch.bool))}, "L", 0)
    assert float(sums["one"].mean[0]) == 2.0
    assert (float(sums["one"].total[0]), float(sums["one"].count[0])) == (4.0, 2.0)
    assert sums["none"].mean.isnan().all()
    assert sums_over_features({}, "L", 0) == {}


def test_the_interval_of_a_share_is_that_of_a_binomial():
    found = Estimate.of(sums_over_features(measured(2000, 0.3), "L00-L01", 0)["share"].mean)
    deviation = math.sqrt(found.value * (1 - found.value) / 2000)
    assert found.low == pytest.approx(found.value - 1.96 * deviation, abs=0.3 * deviation)
    assert found.high == pytest.approx(found.value + 1.96 * deviation, abs=0.3 * deviation)


def test_an_interval_covers_what_is_true_about_as_often_as_it_says():
    covered = 0
    for number in range(100):
        found = Estimate.of(sums_over_features(measured(150, 0.4, number), str(number), 0)["share"].mean)
        covered += found.low <= 0.4 <= found.high
    assert 87 <= covered <= 100


def test_draws_are_the_same_for_a_seed_and_others_for_other_features_and_seeds():
    given = measured(50, 0.5)
    first, again = (sums_over_features(given, "L00-L01", 1)["share"].total for _ in range(2))
    assert torch.equal(first, again)
    for population, seed in (("L00-L02", 1), ("L00-L01", 2)):
        assert not torch.equal(first, sums_over_features(given, population, seed)["share"].total)


def test_what_is_measured_of_the_same_features_is_weighted_alike():
    values = torch.arange(50, dtype=torch.float64)
    every = torch.ones(50, dtype=torch.bool)
    sums = sums_over_features({"one": (values, every), "twice": (2 * values, every)}, "L", 0)
    torch.testing.assert_close(2 * sums["one"].mean, sums["twice"].mean)


def test_blocks_change_nothing_but_which_weights_are_drawn(monkeypatch):
    monkeypatch.setattr(over_features, "_BLOCK", 7)
    found = Estimate.of(sums_over_features(measured(500, 0.3), "L", 0)["share"].mean)
    assert found.value == pytest.approx(float(measured(500, 0.3)["share"][0].mean()))
    assert found.low < found.value < found.high


def test_a_share_alone_has_the_interval_that_its_features_would_give():
    found = share_over_features(0.25, 400, "L", 0)
    deviation = math.sqrt(0.25 * 0.75 / 400)
    assert found.value == 0.25
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(deviation, rel=0.15)
    assert share_over_features(1.0, 400, "L", 0) == Estimate(1.0)
    assert math.isnan(share_over_features(math.nan, 0, "L", 0).value)


def test_one_feature_has_no_interval():
    one = {"share": (torch.tensor([0.3], dtype=torch.float64), torch.tensor([True]))}
    assert Estimate.of(sums_over_features(one, "L", 0)["share"].mean) == Estimate(0.3)


def test_sums_of_two_pairs_of_layers_are_over_the_features_of_both():
    one, other = (Sums(*torch.tensor([[total], [count]]).double()) for total, count in ((1, 4), (5, 2)))
    both = one + other
    assert both.mean.tolist() == [1.0]


def test_the_interval_of_a_median_covers_it_about_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(size=(300, 101))
    found = [median_over_features(torch.from_numpy(draw)) for draw in draws]
    assert [one.value for one in found] == [float(np.median(draw)) for draw in draws]
    assert 0.92 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.99


def test_the_median_of_few_values_has_no_interval_and_that_of_none_is_none():
    few = median_over_features(torch.tensor([1.0, math.nan, 2.0, 3.0], dtype=torch.float64))
    assert few == Estimate(2.0)
    assert math.isnan(median_over_features(torch.full((3,), math.nan, dtype=torch.float64)).value)
