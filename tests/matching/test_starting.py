import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from sae_match.matching.starting import duals_by_length, partners_by_length


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_the_shortest_gets_the_shortest():
    assert partners_by_length(np.array([3.0, 1.0, 2.0]), np.array([5.0, 9.0, 7.0])).tolist() == [1, 0, 2]


@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 1), (1, 5), (7, 7), (7, 8), (30, 100)])
def test_every_row_gets_a_column_of_its_own(generator, n_rows, n_columns):
    partner = partners_by_length(generator.random(n_rows), generator.random(n_columns))
    assert len(set(partner.tolist())) == n_rows
    assert set(partner.tolist()) <= set(range(n_columns))


def test_equal_lengths_are_no_obstacle():
    assert sorted(partners_by_length(np.ones(9), np.ones(9)).tolist()) == list(range(9))
    u, v = duals_by_length(np.ones(9), np.ones(9), 0.5)
    assert u + v == pytest.approx(np.ones(9))


def costs_at(x, y, cosine):
    return np.square(x)[:, None] + np.square(y) - 2 * cosine * np.outer(x, y)


def test_duals_are_nearly_optimal_where_all_pairs_have_the_same_cosine(generator):
    x, y = np.sort(generator.random(300)) + 0.5, np.sort(generator.random(300)) + 0.5
    costs = costs_at(x, y, 0.5)
    u, v = duals_by_length(x, y, 0.5)
    best = costs[linear_sum_assignment(costs)].sum()
    assert u.sum() + v.sum() == pytest.approx(best, rel=1e-3)
    assert (costs - u[:, None] - v).min() > -1e-3


def test_columns_that_are_left_over_have_no_price(generator):
    x, y = generator.random(10) + 0.5, generator.random(20) + 0.5
    u, v = duals_by_length(x, y, 0.5)
    assert (v == 0).all()
    assert (costs_at(x, y, 0.5) - u[:, None]).min() >= -1e-12
