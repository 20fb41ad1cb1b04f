import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from sae_match.errors import UserError
from sae_match.matching.solver.assignment import CandidatePairs, SparseAssignment

SHAPES = [(1, 1), (2, 2), (60, 60), (300, 300), (1, 9), (50, 51), (40, 300)]


def random_pairs(seed, n_rows, n_columns, *, each=4, integer=False):
    """Some pairs of every row, among them a column of its own."""
    generator = np.random.default_rng(seed)
    rows = np.concatenate([np.arange(n_rows), np.repeat(np.arange(n_rows), each)])
    columns = np.concatenate(
        [generator.permutation(n_columns)[:n_rows], generator.integers(n_columns, size=each * n_rows)]
    )
    cost = generator.integers(1, 4, len(rows)).astype(float) if integer else generator.random(len(rows)) + 0.1
    return CandidatePairs.collected(rows, columns, cost, np.zeros(len(rows)), n_columns)


def solved(pairs, n_rows):
    assignment = SparseAssignment.unstarted(pairs, n_rows)
    assignment.solve(pairs)
    return assignment


def scipys(pairs, n_rows):
    graph = csr_array((pairs.cost, (pairs.rows, pairs.columns)), shape=(n_rows, pairs.n_columns))
    return graph[min_weight_full_bipartite_matching(graph)].sum()


def paid(pairs, assignment):
    return pairs.cost[pairs.positions(np.arange(len(assignment.partner)), assignment.partner)].sum()


def assert_proven(pairs, assignment):
    """Duals that no pair contradicts, tight where they pay, and none that a free column could be paid for."""
    assert len(set(assignment.partner.tolist())) == len(assignment.partner)
    assert pairs.reduced(assignment.u, assignment.v).min() >= -1e-12
    at = pairs.positions(np.arange(len(assignment.partner)), assignment.partner)
    assert np.array_equal(pairs.columns[at], assignment.partner)
    assert pairs.reduced(assignment.u, assignment.v)[at].max() <= 1e-9
    if len(assignment.partner) < pairs.n_columns:
        free = np.setdiff1d(np.arange(pairs.n_columns), assignment.partner)
        assert assignment.v.max() <= 0
        assert np.abs(assignment.v[free]).max() <= 1e-12


@pytest.mark.parametrize("integer", [False, True], ids=["", "tied"])
@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_is_scipys_and_the_duals_prove_it(seed, n_rows, n_columns, integer):
    pairs = random_pairs(seed, n_rows, n_columns, integer=integer)
    assignment = solved(pairs, n_rows)
    assert paid(pairs, assignment) == pytest.approx(scipys(pairs, n_rows), rel=1e-12)
    assert_proven(pairs, assignment)


@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_stabilised_duals_prove_it_as_well(seed, n_rows, n_columns):
    pairs = random_pairs(seed, n_rows, n_columns)
    assignment = solved(pairs, n_rows)
    before = assignment.partner.copy()
    start = np.random.default_rng(seed).standard_normal(n_columns)
    assignment.stabilise(pairs, np.minimum(start, 0) if n_rows < n_columns else start)
    assert np.array_equal(assignment.partner, before)
    assert_proven(pairs, assignment)


def test_stabilised_duals_have_room_on_both_sides():
    """Two rows and columns: prices may differ by -4 to 2, and start at a difference of 10."""
    cost = np.array([1.0, 3.0, 5.0, 1.0])
    pairs = CandidatePairs(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), cost, np.zeros(4), 2)
    assignment = solved(pairs, 2)
    assignment.stabilise(pairs, np.array([0.0, 10.0]))
    assert assignment.v.tolist() == pytest.approx([4, 6])
    assignment.stabilise(pairs, np.array([0.0, 1.0]))
    assert assignment.v.tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_a_warm_start_after_more_pairs_is_as_good_as_a_cold_one(seed, n_rows, n_columns):
    few = random_pairs(seed, n_rows, n_columns)
    assignment = solved(few, n_rows)
    assignment.stabilise(few, assignment.v.copy())
    others = random_pairs(seed + 100, n_rows, n_columns)
    both = (
        np.concatenate([getattr(side, name) for side in (few, others)])
        for name in ("rows", "columns", "cost", "radius")
    )
    more = CandidatePairs.collected(*both, n_columns)
    warm = SparseAssignment(assignment.partner, assignment.v)
    warm.solve(more)
    assert paid(more, warm) == pytest.approx(scipys(more, n_rows), rel=1e-12)
    assert_proven(more, warm)


@pytest.mark.parametrize("seed", range(4))
def test_a_warm_start_survives_costs_that_change(seed):
    pairs = random_pairs(seed, 80, 100)
    assignment = solved(pairs, 80)
    dearer = pairs.with_costs(np.arange(0, len(pairs), 3), pairs.cost[::3] + 0.2, pairs.radius[::3])
    assignment.solve(dearer)
    assert paid(dearer, assignment) == pytest.approx(scipys(dearer, 80), rel=1e-12)
    assert_proven(dearer, assignment)


@pytest.mark.parametrize("cost", [np.zeros((30, 30)), np.full((20, 35), 7.0), np.eye(25), -np.eye(25)])
def test_degenerate_whole_matrices(cost):
    rows, columns = (index.flatten() for index in np.indices(cost.shape))
    pairs = CandidatePairs(rows, columns, cost.flatten(), np.zeros(cost.size), cost.shape[1])
    assignment = solved(pairs, len(cost))
    assert paid(pairs, assignment) == pytest.approx(cost[linear_sum_assignment(cost)].sum(), abs=1e-12)
    assert_proven(pairs, assignment)


def test_rows_that_share_their_only_column_are_refused():
    pairs = CandidatePairs(np.array([0, 1]), np.array([0, 0]), np.ones(2), np.zeros(2), 2)
    with pytest.raises(UserError, match=r"row [01] has no column left among 2 pairs"):
        solved(pairs, 2)


def test_what_it_starts_from_is_left_untouched():
    pairs = random_pairs(0, 20, 20)
    partner, v = np.full(20, -1), np.zeros(20)
    SparseAssignment(partner, v).solve(pairs)
    assert (partner == -1).all()
    assert (v == 0).all()


def pairs(*listed):
    """Pairs given as row, column, cost, radius."""
    rows, columns, cost, radius = zip(*listed, strict=True)
    return CandidatePairs.collected(np.array(rows), np.array(columns), np.array(cost), np.array(radius), n_columns=3)


def listed(some):
    return list(zip(some.rows, some.columns, some.cost, some.radius, strict=True))


def test_pairs_come_in_the_order_of_rows_then_columns():
    some = pairs((1, 2, 5.0, 0.0), (0, 1, 4.0, 0.0), (1, 0, 3.0, 0.0))
    assert listed(some) == [(0, 1, 4, 0), (1, 0, 3, 0), (1, 2, 5, 0)]


def test_of_a_pair_listed_several_times_the_best_cost_is_kept():
    rough, exact = (0, 1, 4.1, 0.2), (0, 1, 4.0, 0.0)
    assert listed(pairs(rough, exact)) == [exact]
    assert listed(pairs(exact, rough)) == [exact]
    assert listed(pairs((1, 1, 2.0, 0.0), rough, (0, 1, 4.2, 0.3), exact)) == [exact, (1, 1, 2.0, 0.0)]


def test_better_costs_leave_the_pairs_before_as_they_were():
    some = pairs((0, 0, 1.0, 0.5), (0, 1, 2.0, 0.5))
    better = some.with_costs(np.array([1]), np.array([2.2]), np.array([0.1]))
    assert listed(better) == [(0, 0, 1.0, 0.5), (0, 1, 2.2, 0.1)]
    assert listed(some) == [(0, 0, 1.0, 0.5), (0, 1, 2.0, 0.5)]


def test_pairs_are_found_where_they_stand():
    some = pairs((0, 1, 4.0, 0.0), (1, 0, 3.0, 0.0), (1, 2, 5.0, 0.0))
    assert some.positions(np.array([1, 0]), np.array([2, 1])).tolist() == [2, 0]


def test_rows_without_pairs_are_empty_ranges():
    assert pairs((0, 1, 4.0, 0.0), (2, 0, 3.0, 0.0)).row_starts(4).tolist() == [0, 1, 1, 2, 2]


def test_reduced_costs_by_hand():
    some = pairs((0, 1, 4.0, 0.0), (1, 2, 5.0, 0.0))
    assert some.reduced(np.array([1.0, 2.0]), np.array([0.0, 0.5, -1.0])).tolist() == [2.5, 4.0]


def test_chosen_pairs_keep_their_order():
    some = pairs((0, 1, 4.0, 0.0), (1, 0, 3.0, 0.0), (1, 2, 5.0, 0.0))
    assert listed(some.chosen(np.array([True, False, True]))) == [(0, 1, 4, 0), (1, 2, 5, 0)]
    assert len(some) == 3
