"""Where a first round starts: close to the optimum where all pairs are alike, and sound where they are not."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from sae_match.matching.solver.starting import (
    duals_by_length,
    flow_by_length,
    flow_duals_by_length,
    partners_by_length,
)


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


@pytest.mark.parametrize("more", [0, 7])
def test_features_that_stand_together_start_as_they_would_alone(generator, more):
    supply = generator.integers(1, 5, 9)
    capacity = np.append(np.ones(supply.sum() - 4, dtype=np.int64), 4 + more)
    x, y = generator.random(len(supply)), generator.random(len(capacity))
    flow = flow_by_length(x, y, supply, capacity)
    assert np.array_equal(flow.supply, supply)
    assert (flow.free >= 0).all()
    assert flow.free.sum() == more
    every_x, every_y = np.repeat(x, supply), np.repeat(y, capacity)
    partner = partners_by_length(every_x, every_y)
    single = np.abs(every_x - every_y[partner]).sum()
    assert (flow.amounts * np.abs(x[flow.rows] - y[flow.columns])).sum() == pytest.approx(single)
    u, v = flow_duals_by_length(x, y, supply, capacity, 0.5)
    alone = duals_by_length(every_x, every_y, 0.5)
    assert np.repeat(u, supply) == pytest.approx(alone[0])
    assert np.repeat(v, capacity) == pytest.approx(alone[1])


def test_columns_without_vectors_stay_free():
    flow = flow_by_length(np.ones(2), np.ones(3), np.array([2, 1]), np.array([1, 1, 1, 2, 1]))
    assert flow.free.tolist() == [0, 0, 0, 2, 1]
