from functools import partial

import numpy as np
import pytest
import torch

from sae_match.matching.dense import DensePricer
from sae_match.matching.passes import Passes
from sae_match.matching.sparse import SparsePricer
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
