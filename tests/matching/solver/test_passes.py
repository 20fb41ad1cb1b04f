from functools import partial

import numpy as np
import pytest
import torch

from sae_match.matching.solver.passes import Part, Passes, Reference
from sae_match.matching.solver.pricing import DensePricer
from sae_match.matching.solver.sparse import SparsePricer
from tests.matching.problems import PRECISIONS, naive_costs, normal, plain

PRICERS = [DensePricer, *(partial(SparsePricer, precision=p, block=(64, 128)) for p in PRECISIONS.values())]
IDS = ["dense", *PRECISIONS]


@pytest.fixture(params=PRICERS, ids=IDS)
def made(request):
    """Passes of a problem, its costs, and duals none of whose reduced costs are negative."""
    a, b = plain(normal(0, 300, 12)), plain(normal(1, 300, 12))
    costs = naive_costs(a, b).astype(float)
    u = costs.min(1)
    return Passes([partial(request.param, a, b)]), costs, u, (costs - u[:, None]).min(0)


def quiet(_done):
    pass


def assert_all_found(found, known, costs, u, v, passes):
    """No pair below the threshold is missing from the hits and those known before."""
    below = costs - u[:, None] - v < found.threshold * np.outer(passes.row_lengths, passes.column_lengths) - 1e-12
    seen = known.copy()
    seen[found.hits.rows, found.hits.columns] = True
    assert not (below & ~seen).any()
    return seen


def test_the_first_pass_looks_at_all_pairs_and_brings_some_of_every_row(made):
    passes, costs, u, v = made
    found = passes.first(u, v, quiet)
    assert found.whole
    assert found.priced == costs.size
    assert set(found.hits.rows.tolist()) == set(found.hits.columns.tolist()) == set(range(300))
    assert_all_found(found, np.zeros_like(costs, dtype=bool), costs, u, v, passes)


def test_later_passes_leave_out_what_is_proven_and_miss_nothing(made):
    passes, costs, u, v = made
    known = np.zeros_like(costs, dtype=bool)
    known = assert_all_found(passes.first(u, v, quiet), known, costs, u, v, passes)
    found = passes.next(u, v, quiet)
    assert found.whole
    known = assert_all_found(found, known, costs, u, v, passes)
    generator = np.random.default_rng(0)
    for _ in range(5):
        u = u + 0.3 * found.threshold * generator.standard_normal(300) * (generator.random(300) < 0.05)
        v = v + np.where(generator.random(300) < 0.02, 5.0, 0.0)
        found = passes.next(u, v, quiet)
        known = assert_all_found(found, known, costs, u, v, passes)


def test_duals_that_moved_little_cost_no_second_pass(made):
    passes, costs, u, v = made
    passes.first(u, v, quiet)
    passes.next(u, v, quiet)
    found = passes.next(u - 1e-6, v, quiet)
    assert not found.whole
    assert found.priced < 0.1 * costs.size


def test_progress_of_a_part_rises_to_the_end(made):
    passes, _, u, v = made
    passes.first(u, v, quiet)
    passes.next(u, v, quiet)
    v = v.copy()
    v[:3], told = v[:3] + 100, []
    passes.next(u, v, told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_where_the_margin_hides_everything_a_finer_pricer_takes_over():
    """All costs are tiny beside the vectors: bfloat16 sees no difference between them."""
    a = normal(0, 1, 50) + 1e-4 * normal(1, 300, 50)
    a[:10] *= -1
    source, target = plain(a), plain(a.flip(0))
    made = []

    def pricer(precision):
        made.append(precision)
        return SparsePricer(source, target, precision=precision, block=(64, 128))

    passes = Passes([partial(pricer, precision) for precision in (torch.bfloat16, torch.float64)])
    u, v = np.zeros(300), np.zeros(300)
    passes.first(u, v, quiet)
    for _ in range(3):
        passes.next(u, v, quiet)
    assert made == [torch.bfloat16, torch.float64]


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
