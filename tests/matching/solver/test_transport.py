"""The cheapest flow among listed pairs, against scipy on the features one by one."""

import numpy as np
import pytest

from sae_match.errors import UserError
from sae_match.matching.solver.assignment import CandidatePairs
from sae_match.matching.solver.classes import Flow
from sae_match.matching.solver.transport import SparseTransport
from tests.matching.problems import optimum


def divided(generator, total, parts, most):
    """A total as a sum of whole numbers, most of them small and a few large."""
    sizes = np.ones(parts, dtype=np.int64)
    large = generator.choice(parts, most, replace=False)
    sizes[large] += generator.multinomial(total - parts, np.ones(most) / most)
    return sizes


def problem(seed, *, n_rows=20, n_columns=24, total=60, more=0, share=0.6, levels=0):
    """Listed pairs with supplies and capacities, and the costs of single features; not listed is very dear."""
    generator = np.random.default_rng(seed)
    supply = divided(generator, total, n_rows, 3)
    capacity = divided(generator, total + more, n_columns, 2)
    costs = generator.random((n_rows, n_columns))
    if levels:
        costs = np.floor(costs * levels)
    flow = Flow.of_slots(
        np.repeat(np.arange(n_rows), supply), np.repeat(np.arange(n_columns), capacity)[:total], capacity
    )
    listed = generator.random(costs.shape) < share
    listed[flow.rows, flow.columns] = True
    rows, columns = np.nonzero(listed)
    pairs = CandidatePairs.collected(rows, columns, costs[rows, columns], np.zeros(len(rows)), n_columns)
    every = np.where(listed, costs, 1e6)
    return pairs, flow, np.repeat(np.repeat(every, supply, axis=0), capacity, axis=1)


def cost(pairs, flow):
    return (flow.amounts * pairs.cost[pairs.positions(flow.rows, flow.columns)]).sum()


def assert_optimal(pairs, transport, before):
    flow = transport.flow
    assert np.array_equal(flow.supply, before.supply)
    assert np.array_equal(flow.capacity, before.capacity)
    assert (flow.free >= 0).all()
    reduced = pairs.reduced(transport.u, transport.v)
    assert reduced.min() >= -1e-12
    assert np.abs(reduced[pairs.positions(flow.rows, flow.columns)]).max() <= 1e-12
    if flow.free.any():
        assert transport.v.max() <= 0
        assert (transport.v[flow.free > 0] == 0).all()


SHAPES = [{}, {"more": 15}, {"levels": 3}, {"levels": 3, "more": 9}, {"n_rows": 30, "n_columns": 8, "share": 0.9}]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_flow_is_the_cheapest_and_the_duals_prove_it(seed, shape):
    pairs, flow, every = problem(seed, **shape)
    transport = SparseTransport.unstarted(pairs, flow)
    transport.solve(pairs)
    assert_optimal(pairs, transport, flow)
    assert cost(pairs, transport.flow) == pytest.approx(optimum(every))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stabilised_duals_prove_it_too_and_lie_nearer_to_the_start(seed, shape):
    pairs, flow, _ = problem(seed, **shape)
    transport = SparseTransport.unstarted(pairs, flow)
    transport.solve(pairs)
    start = np.random.default_rng(seed).normal(0, 0.1, pairs.n_columns)
    if transport.flow.free.any():
        start = np.minimum(start, 0)
    before = np.abs(transport.v - start).max()
    transport.stabilise(pairs, start)
    assert_optimal(pairs, transport, flow)
    assert np.abs(transport.v - start).max() <= before + 1e-12


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_was_found_is_where_other_costs_start(shape):
    pairs, flow, _ = problem(1, **shape)
    transport = SparseTransport.unstarted(pairs, flow)
    transport.solve(pairs)
    changed = pairs.with_costs(np.arange(40), pairs.cost[:40] + 0.5, pairs.radius[:40])
    again, afresh = SparseTransport(transport.flow, transport.v), SparseTransport.unstarted(pairs, flow)
    again.solve(changed)
    afresh.solve(changed)
    assert_optimal(changed, again, flow)
    assert cost(changed, again.flow) == pytest.approx(cost(changed, afresh.flow))


def test_what_is_cheapest_already_stays():
    pairs, flow, _ = problem(2)
    transport = SparseTransport.unstarted(pairs, flow)
    transport.solve(pairs)
    before = transport.flow
    transport.solve(pairs)
    assert np.array_equal(before.amounts, transport.flow.amounts)
    assert np.array_equal(before.columns, transport.flow.columns)


def test_too_few_pairs_name_the_row():
    capacity = np.array([1, 3])
    flow = Flow(np.array([0, 1]), np.array([1, 1]), np.array([2, 1]), capacity)
    pairs = CandidatePairs.collected(np.array([0, 1]), np.array([0, 1]), np.ones(2), np.zeros(2), 2)
    with pytest.raises(UserError, match="row 0 has no column left among 2 pairs"):
        SparseTransport.unstarted(pairs, flow).solve(pairs)


def test_it_tells_how_far_it_is():
    pairs, flow, _ = problem(3, n_rows=60, n_columns=70, total=900, levels=2)
    told = []
    SparseTransport.unstarted(pairs, flow).solve(pairs, told.append)
    assert told == sorted(told)
    assert all(0 <= share < 1 for share in told)
