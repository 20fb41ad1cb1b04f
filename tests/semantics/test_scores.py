import math
import random

import numpy as np
import pytest

from sae_match.semantics.scores import kappa, score


def test_a_score_is_the_mean_of_what_was_labelled():
    found = score([3.0, 1.5, math.nan, 1.0], [3, 1, None, 1], [0, 0, 1, 2])
    assert found.value == pytest.approx(5.5 / 3)
    assert found.counts == (2, 0, 1, 1)
    assert found.paths == 2
    assert found.low <= found.value <= found.high


def test_nothing_is_said_without_labels_and_no_interval_of_one_path():
    nothing = score([math.nan], [None], [0])
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.counts, nothing.paths) == (None, (0, 0, 0, 1), 0)
    assert score([1.0, 2.0], [1, 2], [4, 4]).low is None


def test_there_is_no_interval_where_other_paths_would_change_nothing():
    same = score([3.0] * 5, [3] * 5, range(5))
    assert (same.value, same.low, same.high, same.paths) == (3.0, None, None, 5)


def test_questions_of_one_path_count_as_one_draw():
    """Ten equal questions a path: as wide an interval as with one, not a third of it."""
    values = [float(random.Random(seed).choice((1, 2, 3))) for seed in range(60)]
    one = score(values, [int(value) for value in values], range(60))
    repeated = np.repeat(values, 10)
    ten = score(repeated.tolist(), repeated.astype(int).tolist(), np.repeat(range(60), 10).tolist())
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator, inside = np.random.default_rng(0), 0
    for trial in range(300):
        labels = generator.choice([1, 2, 3], size=80, p=[0.5, 0.3, 0.2])
        found = score(labels.astype(float).tolist(), labels.tolist(), range(80), seed=trial)
        inside += found.low <= 1.7 <= found.high
    assert 0.9 <= inside / 300 <= 0.98


def naive_kappa(first, second):
    """As in the paper of 1960: one label after another."""
    size = len(first)
    chance = sum(first.count(label) / size * second.count(label) / size for label in (1, 2, 3))
    same = sum(a == b for a, b in zip(first, second, strict=True)) / size
    return (same - chance) / (1 - chance)


def test_kappa_is_what_agreement_exceeds_chance_by():
    generator = np.random.default_rng(3)
    first = generator.integers(1, 4, 200)
    second = np.where(generator.random(200) < 0.6, first, generator.integers(1, 4, 200))
    found = kappa(first.tolist(), second.tolist(), range(200))
    assert found.value == pytest.approx(naive_kappa(first.tolist(), second.tolist()))
    assert found.low < found.value < found.high
    assert found.agreement == pytest.approx((first == second).mean())
    # Twenty yes-yes, five yes-no, ten no-yes, fifteen no-no: the textbook's 0.4.
    assert kappa([1] * 25 + [2] * 25, [1] * 20 + [2] * 5 + [1] * 10 + [2] * 15, range(50)).value == pytest.approx(0.4)


def test_kappas_interval_counts_a_path_as_one_draw():
    generator = np.random.default_rng(5)
    first = generator.integers(1, 4, 60)
    second = np.where(generator.random(60) < 0.6, first, generator.integers(1, 4, 60))
    one = kappa(first.tolist(), second.tolist(), range(60))
    ten = kappa(*(np.repeat(labels, 10).tolist() for labels in (first, second, np.arange(60))))
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))
    assert kappa(first.tolist(), second.tolist(), [7] * 60).low is None


def test_kappas_interval_covers_the_truth_as_often_as_it_says():
    """Two raters who agree on six of ten questions for sure, and else by chance: kappa is 0.6."""
    generator, inside = np.random.default_rng(0), 0
    for trial in range(200):
        first = generator.integers(1, 4, 100)
        second = np.where(generator.random(100) < 0.6, first, generator.integers(1, 4, 100))
        found = kappa(first.tolist(), second.tolist(), range(100), seed=trial)
        inside += found.low <= 0.6 <= found.high
    assert 0.9 <= inside / 200 <= 0.985


def test_kappa_of_perfect_and_of_empty_agreement():
    assert kappa([1, 2, 3, 1], [1, 2, 3, 1], range(4)).value == 1
    assert kappa([1, None], [None, 2], range(2)).questions == 0
    constant = kappa([2, 2], [2, 2], range(2))
    assert math.isnan(constant.value)
    assert constant.low is None
