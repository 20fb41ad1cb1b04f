import math

import numpy as np
import pytest
import torch

from sae_match.evaluation.statistics import (
    Activity,
    LossSum,
    Moments,
    explained_variance,
    explained_variance_mse,
    joint_activity,
    matching_score,
)


def moments_in_batches(values, sizes):
    parts = [Moments.of(part) for part in torch.as_tensor(values).split(sizes)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((500, 7)) * np.arange(1, 8) + 1e4


@pytest.mark.parametrize("sizes", [[500], [1, 499], [123, 77, 300], [1] * 500])
def test_moments_do_not_depend_on_batches_and_equal_numpys(x, sizes):
    moments = moments_in_batches(x, sizes)
    assert moments.count == 500
    assert np.allclose(moments.mean, x.mean(0), rtol=1e-13)
    assert moments.variance == pytest.approx(x.var(axis=0).sum(), rel=1e-9)
    assert moments.mean_square == pytest.approx(np.square(x).sum(1).mean(), rel=1e-12)


def test_explained_variance_follows_its_definition(x):
    x_hat = 0.9 * x + np.random.default_rng(1).standard_normal(x.shape)
    parts = moments_in_batches(x, [200, 300]), moments_in_batches(x_hat - x, [200, 300])
    expected = 1 - (x_hat - x).var(0).sum() / x.var(0).sum()
    assert explained_variance(*parts) == pytest.approx(expected, rel=1e-9)
    power = np.square(x).sum(1).mean() - np.square(x.mean(0)).sum()
    expected_mse = 1 - np.square(x - x_hat).sum(1).mean() / power
    assert explained_variance_mse(*parts) == pytest.approx(expected_mse, rel=1e-6)


def test_a_constant_shift_is_forgiven_by_the_one_and_not_by_the_other(x):
    parts = Moments.of(torch.as_tensor(x)), Moments.of(torch.full((500, 7), 3.0, dtype=torch.float64))
    assert explained_variance(*parts) == pytest.approx(1)
    assert explained_variance_mse(*parts) < 1


def test_activity_and_matching_score_by_hand():
    source = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]]).bool()
    target = torch.tensor([[0, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    permutation = torch.tensor([1, 0, 2])
    activity = Activity.of(source[:2]) + Activity.of(source[2:])
    assert activity.active.tolist() == [3, 2, 0]
    assert activity.l0 == 5 / 4
    joint = joint_activity(source, target, permutation)
    assert joint.tolist() == [2, 1, 0]
    assert matching_score(joint, activity.active) == pytest.approx(3 / 5)


def test_a_feature_without_a_partner_is_never_jointly_active():
    always = torch.ones(4, 2).bool()
    assert joint_activity(always, always, torch.tensor([-1, 1])).tolist() == [0, 4]


def test_no_active_feature_gives_nan():
    assert math.isnan(matching_score(torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)))


def test_losses_weigh_every_prediction_alike():
    assert (LossSum(6.0, 2) + LossSum(1.0, 2)).mean == 7 / 4
