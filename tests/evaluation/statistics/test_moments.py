import numpy as np
import pytest
import torch

from sae_match.evaluation.statistics.moments import (
    Activity,
    Moments,
    explained_variance,
    explained_variance_by_dimension,
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
    own = 1 - (x_hat - x).var(0) / x.var(0)
    assert explained_variance_by_dimension(*parts) == pytest.approx(own.mean(), rel=1e-9)


def test_a_constant_shift_explains_everything(x):
    shift = Moments.of(torch.full((500, 7), 3.0, dtype=torch.float64))
    assert explained_variance(Moments.of(torch.as_tensor(x)), shift) == pytest.approx(1)


def test_activity_by_hand():
    active = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]]).bool()
    activity = Activity.of(active[:2]) + Activity.of(active[2:])
    assert activity.tokens == 4
    assert activity.active.tolist() == [3, 2, 0]
    assert activity.l0 == 5 / 4
