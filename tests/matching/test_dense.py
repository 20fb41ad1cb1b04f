import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sae_match.matching.dense import column_duals, dual_bound, solve_dense


def cases():
    generator = np.random.default_rng(0)
    distances = np.square(generator.standard_normal((50, 1, 3)) - generator.standard_normal((1, 50, 3))).sum(-1)
    return {
        "one": np.array([[3.5]]),
        "uniform": generator.random((80, 80)),
        "distances": distances,
        "integers with many ties": generator.integers(0, 4, (60, 60)).astype(float),
        "constant": np.full((30, 30), 7.0),
        "all zero": np.zeros((12, 12)),
        "duplicated rows": np.repeat(generator.random((20, 40)), 2, axis=0),
        "duplicated columns": np.repeat(generator.random((40, 20)), 2, axis=1),
        "permuted diagonal": 1 - np.eye(25)[generator.permutation(25)],
        "negative": generator.random((30, 30)) - 5,
        "wide range": 10.0 ** generator.uniform(-8, 8, (30, 30)),
    }


@pytest.mark.parametrize("cost", cases().values(), ids=cases().keys())
def test_the_optimum_equals_scipys_and_the_bound_meets_it(cost):
    found = solve_dense(torch.from_numpy(cost))
    permutation = found.permutation.numpy()
    assert sorted(permutation) == list(range(len(cost)))
    total = cost[np.arange(len(cost)), permutation].sum()
    rows, columns = linear_sum_assignment(cost)
    scale = max(1.0, np.abs(cost).max())
    assert total == pytest.approx(cost[rows, columns].sum(), rel=1e-12, abs=1e-12)
    assert found.lower_bound <= total + 1e-9 * scale
    assert found.lower_bound == pytest.approx(total, rel=1e-9, abs=1e-9 * scale)


def test_the_bound_holds_for_every_permutation_whatever_the_duals():
    generator = np.random.default_rng(1)
    for _ in range(50):
        cost = generator.standard_normal((5, 5))
        cheapest = min(cost[np.arange(5), list(p)].sum() for p in itertools.permutations(range(5)))
        assert dual_bound(cost, generator.standard_normal(5) * generator.integers(0, 3)) <= cheapest + 1e-12


def test_a_permutation_that_is_not_optimal_is_not_certified():
    """The certificate can fail: duals recovered for a worse permutation leave a gap."""
    cost = np.random.default_rng(2).random((30, 30))
    _, best = linear_sum_assignment(cost)
    worse = best.copy()
    worse[[0, 1]] = worse[[1, 0]]
    total = cost[np.arange(30), worse].sum()
    bound = dual_bound(cost, column_duals(cost, worse))
    assert bound < total - 1e-3
    assert bound <= cost[np.arange(30), best].sum() + 1e-12
