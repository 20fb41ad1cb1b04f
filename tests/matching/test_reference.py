import numpy as np
import pytest

from sae_match.matching.reference import Part, Reference


def risen(seed, n_rows, n_columns, spread):
    """A reference, and duals of which few have risen much."""
    generator = np.random.default_rng(seed)
    u, v = generator.standard_normal(n_rows), generator.standard_normal(n_columns)
    lengths = [np.exp(spread * generator.standard_normal(n)) for n in (n_rows, n_columns)]
    reference = Reference(u, v, 0.1, *lengths)
    rises = [
        0.02 * generator.standard_normal(n) + 3 * generator.standard_normal(n) * (generator.random(n) < 0.03)
        for n in (n_rows, n_columns)
    ]
    return reference, u + rises[0], v + rises[1]


def outside(part, n_rows, n_columns):
    pairs = np.ones((n_rows, n_columns), dtype=bool)
    pairs[part.rows] = False
    pairs[:, part.columns] = False
    return pairs


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0])
@pytest.mark.parametrize(("n_rows", "n_columns"), [(200, 200), (40, 500), (500, 40), (1, 1), (1, 300)])
@pytest.mark.parametrize("seed", range(4))
def test_no_pair_outside_the_part_has_risen_by_more_than_the_threshold(seed, n_rows, n_columns, spread):
    reference, u, v = risen(seed, n_rows, n_columns, spread)
    part = reference.unproven(u, v)
    rise = (u - reference.u)[:, None] + (v - reference.v)
    proven = rise <= reference.threshold * reference.row_lengths[:, None] * reference.column_lengths * (1 + 1e-12)
    assert proven[outside(part, n_rows, n_columns)].all()


def test_the_part_is_small_where_few_duals_have_risen():
    part_of = [Reference.unproven(*risen(seed, 500, 500, 0.1)) for seed in range(4)]
    assert all(0 < part.share(500, 500) < 0.5 for part in part_of)


def test_a_constant_moved_between_the_sides_proves_as_much():
    reference, u, v = risen(0, 100, 100, 0.1)
    part, moved = reference.unproven(u, v), reference.unproven(u + 7, v - 7)
    assert np.array_equal(part.rows, moved.rows)
    assert np.array_equal(part.columns, moved.columns)


def test_duals_that_stayed_leave_nothing_unproven():
    reference, _, _ = risen(0, 50, 50, 1.0)
    part = reference.unproven(reference.u, reference.v)
    assert part.share(50, 50) == 0


def test_everything_is_unproven_when_all_has_risen():
    reference, _, _ = risen(0, 50, 50, 0.0)
    assert reference.unproven(reference.u + 1, reference.v).share(50, 50) == 1


def test_a_share_counts_every_pair_once():
    assert Part(np.arange(2), np.arange(5)).share(4, 10) == pytest.approx((2 * 10 + 5 * 4 - 2 * 5) / 40)
