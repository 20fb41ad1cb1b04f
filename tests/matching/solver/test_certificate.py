"""The bound against brute force in wider floats, on listed pairs and on those that are not."""

import numpy as np
import pytest

from sae_match.matching.solver.assignment import CandidatePairs
from sae_match.matching.solver.certificate import lower_bound
from sae_match.matching.solver.classes import Flow
from tests.matching.problems import optimum


def all_pairs(costs, radius=0.0):
    rows, columns = (index.flatten() for index in np.indices(costs.shape))
    return CandidatePairs.collected(
        rows, columns, costs.flatten(), np.full(costs.size, radius), n_columns=costs.shape[1]
    )


def random_problem(seed, n_rows, n_columns):
    generator = np.random.default_rng(seed)
    costs = generator.random((n_rows, n_columns))
    v = -generator.random(n_columns) * 0.3
    return costs, (costs - v).min(1), v


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 1), (30, 30), (20, 50)])
def test_no_assignment_is_cheaper_than_the_bound_of_any_duals(seed, n_rows, n_columns):
    costs, u, v = random_problem(seed, n_rows, n_columns)
    partner = np.random.default_rng(seed + 9).permutation(n_columns)[:n_rows]
    flow = Flow.single(partner, n_columns)
    nothing = np.full(n_rows, np.inf)
    assert lower_bound(all_pairs(costs), flow, u, v, nothing) <= optimum(costs)
    assert lower_bound(all_pairs(costs), flow, u + 1, v, nothing) <= optimum(costs)


def test_duals_that_are_tight_prove_the_optimum():
    costs = np.array([[1.0, 4.0], [2.0, 1.0]])
    bound = lower_bound(all_pairs(costs), Flow.single(np.arange(2), 2), np.ones(2), np.zeros(2), np.full(2, np.inf))
    assert bound == 2


def test_costs_far_smaller_than_the_duals_are_not_lost():
    costs = np.full((3, 3), 10.0)
    np.fill_diagonal(costs, [1e-14, 2e-14, 3e-14])
    v = np.array([1.0, 2.0, 3.0])
    u = costs.diagonal() - v
    assert lower_bound(all_pairs(costs), Flow.single(np.arange(3), 3), u, v, np.full(3, 1.0)) == pytest.approx(
        6e-14, rel=1e-12
    )


def test_what_costs_may_be_off_by_lowers_the_bound():
    costs = np.array([[1.0, 4.0], [2.0, 1.0]])
    given = Flow.single(np.arange(2), 2), np.ones(2), np.zeros(2), np.full(2, np.inf)
    assert lower_bound(all_pairs(costs, radius=0.25), *given) == pytest.approx(1.5)


def test_pairs_that_are_not_listed_lower_the_bound_by_what_they_may_contradict():
    costs = np.diag([1.0, 1.0]) + 5 * (1 - np.eye(2))
    own = CandidatePairs.collected(np.arange(2), np.arange(2), np.ones(2), np.zeros(2), n_columns=2)
    given = Flow.single(np.arange(2), 2), np.ones(2), np.zeros(2)
    assert lower_bound(own, *given, np.array([0.5, 0.0])) == pytest.approx(2)
    assert lower_bound(own, *given, np.array([-0.5, 0.1])) == pytest.approx(1.5)
    assert lower_bound(all_pairs(costs), *given, np.full(2, 3.0)) == 2


def test_a_free_column_with_a_price_proves_less_and_none_proves_more():
    costs, flow = np.array([[3.0, 2.0, 2.5]]), Flow.single(np.array([1]), 3)
    nothing = np.array([np.inf])
    assert lower_bound(all_pairs(costs), flow, np.array([2.0]), np.zeros(3), nothing) == 2
    assert lower_bound(all_pairs(costs), flow, np.array([2.0]), np.array([0, 0, -0.25]), nothing) == 1.75
    assert lower_bound(all_pairs(costs), flow, np.array([2.0]), np.array([0, 0, 0.25]), nothing) <= 2
    assert lower_bound(all_pairs(costs), flow, np.array([1.0]), np.array([0, 1.0, 0]), nothing) <= 2


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("more", [0, 5])
def test_rows_that_count_several_times_prove_what_their_features_prove_one_by_one(seed, more):
    generator = np.random.default_rng(seed)
    supply = generator.integers(1, 6, 7)
    capacity = np.append(generator.integers(1, 3, 5), 0)
    capacity[-1] = supply.sum() + more - capacity.sum()
    costs, u, v = random_problem(seed, len(supply), len(capacity))
    slots = np.repeat(np.arange(len(capacity)), capacity)[: supply.sum()]
    flow = Flow.of_slots(np.repeat(np.arange(len(supply)), supply), slots, capacity)
    together = lower_bound(all_pairs(costs), flow, u, v, np.full(len(supply), np.inf))
    every = np.repeat(np.repeat(costs, supply, axis=0), capacity, axis=1)
    alone = Flow.single(np.arange(supply.sum()), int(capacity.sum()))
    dual = np.repeat(u, supply), np.repeat(v, capacity)
    assert together <= optimum(every)
    assert together == pytest.approx(lower_bound(all_pairs(every), alone, *dual, np.full(supply.sum(), np.inf)))
