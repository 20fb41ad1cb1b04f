"""What every pricer must do, whatever its precision."""

from functools import partial

import numpy as np
import pytest
import torch

from sae_match.matching.solver.pricing import CrowdedError, DensePricer, Hits
from sae_match.matching.solver.sparse import SparsePricer
from sae_match.matching.tuning import TUNING
from tests.matching.problems import PRECISIONS, naive_costs, normal, plain, rounding

PRICERS = {"dense": DensePricer} | {
    name: partial(SparsePricer, precision=precision, block=(64, 128)) for name, precision in PRECISIONS.items()
}
LENGTHS = 10.0 ** torch.linspace(-3, 3, 150, dtype=torch.float64)[:, None]


def sides():
    """Source and target, by what is special about them."""
    a, b = normal(0, 150, 20), normal(1, 210, 20)
    with_zeros = a.clone()
    with_zeros[::3] = 0
    return {
        "random": (a, b),
        "of very different lengths": (a * LENGTHS, b),
        "with zero vectors": (with_zeros, b),
        "all zero": (torch.zeros_like(a), torch.zeros_like(b)),
        "equal": (a, a[:140]),
        "far away": (a + 50, b + 50),
        "one": (a[:1], b[:1]),
        "one dimension": (a[:, :1], b[:, :1]),
    }


@pytest.fixture(params=PRICERS)
def make_pricer(request):
    return PRICERS[request.param]


@pytest.fixture(params=sides().keys())
def pair(request):
    return tuple(plain(side) for side in sides()[request.param])


def units(pricer):
    return pricer.source_lengths[:, None] * pricer.target_lengths


def duals(pair, seed=0):
    """Row and column duals of the size of the costs."""
    generator = np.random.default_rng(seed)
    costs = naive_costs(*pair).astype(np.float64)
    u = costs.min(1) * generator.uniform(0, 1, len(costs))
    return u, (costs - u[:, None]).min(0) * generator.uniform(0.8, 1.1, costs.shape[1])


def reduced_costs(pricer, pair, u, v):
    return (naive_costs(*pair) - u[:, None] - v) / units(pricer)


@pytest.mark.parametrize("threshold", [-0.2, 0.0, 1e-9, 0.05, 0.5, 10.0])
def test_no_pair_below_the_threshold_is_missed(make_pricer, pair, threshold):
    pricer = make_pricer(*pair)
    u, v = duals(pair)
    hits = pricer.scan(u, v, threshold)
    found = set(zip(hits.rows.tolist(), hits.columns.tolist(), strict=True))
    below = reduced_costs(pricer, pair, u, v) < threshold - rounding(*pair) / units(pricer)
    assert {(i, j) for i, j in np.argwhere(below).tolist()} <= found
    assert len(found) == len(hits.rows)


def test_the_radius_bounds_the_error(make_pricer, pair):
    pricer = make_pricer(*pair)
    u, v = duals(pair)
    hits = pricer.scan(u, v, 0.3)
    true = reduced_costs(pricer, pair, u, v)
    error = np.abs(hits.reduced - true[hits.rows, hits.columns])
    assert (error <= hits.radius).all()


def test_the_radius_is_as_small_as_the_precision():
    pair = tuple(plain(side) for side in sides()["random"])
    u, v = duals(pair)
    widest = {name: PRICERS[name](*pair).scan(u, v, 0.3).radius.max() for name in PRICERS}
    assert widest["dense"] < 1e-12
    assert widest["float64"] < 1e-12
    assert widest["float32"] < 1e-3
    assert widest["bfloat16"] < 0.03


@pytest.mark.parametrize(("rows", "columns"), [([0, 3, 149], None), (None, [5, 60, 61, 209]), ([7], [8, 9])])
def test_a_pass_over_some_rows_and_columns_finds_what_the_whole_pass_finds_there(make_pricer, rows, columns):
    pair = tuple(plain(side) for side in sides()["random"])
    pricer, (u, v) = make_pricer(*pair), duals(pair)
    rows, columns = (None if index is None else np.array(index) for index in (rows, columns))
    hits = pricer.scan(u, v, 0.4, rows=rows, columns=columns)
    true = reduced_costs(pricer, pair, u, v)
    wanted = np.zeros(true.shape, dtype=bool)
    wanted[np.ix_(np.arange(150) if rows is None else rows, np.arange(210) if columns is None else columns)] = True
    found = np.zeros_like(wanted)
    found[hits.rows, hits.columns] = True
    assert not (found & ~wanted).any()
    assert not (wanted & (true < 0.4 - 1e-12) & ~found).any()


def test_a_first_pass_finds_the_best_of_every_row_and_column(make_pricer, pair):
    pricer = make_pricer(*pair)
    u, v = duals(pair)
    hits = pricer.scan(u, v, -0.5, minima=True)
    true = reduced_costs(pricer, pair, u, v)
    found = np.full(true.shape, np.inf)
    found[hits.rows, hits.columns] = true[hits.rows, hits.columns]
    slack = 2 * hits.radius.max() + 2 * (rounding(*pair) / units(pricer)).max()
    assert (found.min(1) <= true.min(1) + slack).all()
    assert (found.min(0) <= true.min(0) + slack).all()


def test_a_first_pass_brings_every_row_and_column_several_pairs_apart(make_pricer):
    pair = tuple(plain(side) for side in sides()["random"])
    hits = make_pricer(*pair).scan(*duals(pair), -10.0, minima=True)
    found = np.zeros((150, 210), dtype=bool)
    found[hits.rows, hits.columns] = True
    for part in np.array_split(found, TUNING.groups // 4, axis=1):
        assert part.any(1).all()
    assert found.any(0).all()


def test_too_many_pairs_are_said(make_pricer):
    pair = tuple(plain(side) for side in sides()["random"])
    pricer, (u, v) = make_pricer(*pair), duals(pair)
    with pytest.raises(CrowdedError):
        pricer.scan(u, v, 10.0, limit=500)
    assert len(pricer.scan(u, v, -10.0, limit=500).rows) == 0


def test_progress_rises_to_the_end(make_pricer):
    pair = tuple(plain(normal(seed, 700, 4)) for seed in (0, 1))
    told = []
    make_pricer(*pair).scan(*duals(pair), 0.0, progress=told.append)
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == 1


def test_the_quantile_is_where_the_smallest_reduced_costs_end(make_pricer):
    pair = tuple(plain(side) for side in sides()["random"])
    pricer, (u, v) = make_pricer(*pair), duals(pair)
    quantile, error = pricer.sampled_quantile(u, v, 10)
    true = np.sort(reduced_costs(pricer, pair, u, v).flatten())
    assert abs(quantile - true[10 * 150 - 1]) <= error + 1e-12


def test_hits_of_no_pass_are_no_hits():
    none = Hits.joined([])
    assert [len(part) for part in (none.rows, none.columns, none.reduced, none.radius)] == [0, 0, 0, 0]


def test_reduced_costs_are_those_of_a_naive_loop():
    a, b = plain(normal(0, 30, 4)), plain(normal(1, 40, 4))
    pricer = DensePricer(a, b)
    u, v = np.linspace(0, 2, 30), np.linspace(-1, 1, 40)
    hits = pricer.scan(u, v, 100.0)
    assert len(hits.rows) == 30 * 40
    unit = pricer.source_lengths[hits.rows] * pricer.target_lengths[hits.columns]
    naive = naive_costs(a, b)[hits.rows, hits.columns] - u[hits.rows] - v[hits.columns]
    assert hits.reduced * unit == pytest.approx(naive.astype(float), abs=1e-12)


def test_a_pass_leaves_the_costs_as_they_are():
    pricer = DensePricer(plain(normal(0, 30, 4)), plain(normal(1, 40, 4)))
    first, second = (pricer.scan(np.ones(30), np.ones(40), 0.5) for _ in range(2))
    assert np.array_equal(first.reduced, second.reduced)
