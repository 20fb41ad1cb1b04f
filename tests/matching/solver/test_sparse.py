from itertools import pairwise

import numpy as np
import pytest
import torch

from sae_match.matching.solver.planning import sparse_bytes
from sae_match.matching.solver.sparse import SparsePricer
from tests.matching.problems import PRECISIONS, naive_costs, normal, plain


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@pytest.mark.parametrize("block", [(64, 64), (64, 256), (2048, 4096)])
def test_blocks_do_not_change_what_is_found(precision, block):
    a, b = plain(normal(0, 200, 10)), plain(normal(1, 300, 10))
    hits = SparsePricer(a, b, precision=precision, block=block).scan(np.zeros(200), np.zeros(300), 1.0)
    reference = SparsePricer(a, b, precision=precision, block=(128, 128)).scan(np.zeros(200), np.zeros(300), 1.0)
    pairs, expected = (set(zip(h.rows.tolist(), h.columns.tolist(), strict=True)) for h in (hits, reference))
    near = naive_costs(a, b)
    clear = {(i, j) for i, j in pairs ^ expected if abs(near[i, j]) < 1e-9}
    assert not clear
    assert len(pairs ^ expected) < 0.01 * len(expected)


def test_no_more_than_the_margin_above_the_threshold_is_found():
    """A pricer that finds everything would miss nothing either."""
    a, b = plain(normal(0, 200, 30)), plain(normal(1, 200, 30))
    counts = [
        len(SparsePricer(a, b, precision=precision, block=(64, 64)).scan(np.zeros(200), np.zeros(200), 1.0).rows)
        for precision in PRECISIONS.values()
    ]
    assert all(finer <= coarser for coarser, finer in pairwise(counts))
    lengths = SparsePricer(a, b, precision=torch.float64, block=(64, 64))
    true = naive_costs(a, b) / (lengths.source_lengths[:, None] * lengths.target_lengths)
    assert counts[-1] == (true < 1.0).sum()
    assert counts[0] <= (true < 1.1).sum()


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_copies_take_the_memory_that_is_planned_for_them(precision):
    a, b = plain(normal(0, 64, 30)), plain(normal(1, 128, 30))
    pricer = SparsePricer(a, b, precision=precision, block=(64, 64))
    assert pricer._x.nbytes + pricer._y.nbytes == sparse_bytes(64, 128, 30, precision)


def test_a_pass_does_not_depend_on_what_the_program_has_set():
    a, b = plain(normal(0, 100, 30)), plain(normal(1, 100, 30))
    pricer = SparsePricer(a, b, precision=torch.float32, block=(64, 64))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        hits = pricer.scan(np.zeros(100), np.zeros(100), 1.0)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert np.array_equal(hits.reduced, pricer.scan(np.zeros(100), np.zeros(100), 1.0).reduced)


def test_duals_of_another_size_than_the_costs_keep_the_radius_proven():
    a, b = plain(normal(0, 60, 10)), plain(normal(1, 60, 10))
    u = 1e4 * np.random.default_rng(0).standard_normal(60)
    for precision in PRECISIONS.values():
        pricer = SparsePricer(a, b, precision=precision, block=(64, 64))
        hits = pricer.scan(u, -u, 0.0)
        true = (naive_costs(a, b) - u[:, None] + u) / (pricer.source_lengths[:, None] * pricer.target_lengths)
        assert (np.abs(hits.reduced - true[hits.rows, hits.columns]) <= hits.radius + 1e-9).all()
        assert len(hits.rows) >= (true < 0).sum()
