import numpy as np

from sae_match.matching.candidates import CandidatePairs


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
