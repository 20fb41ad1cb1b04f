"""The margins of the proofs against exact rationals, where rounding errs most: without one of them a proof is wrong."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from sae_match.matching.cost import UNIT, FeatureVectors
from sae_match.matching.solver import certificate
from sae_match.matching.solver.assignment import CandidatePairs
from sae_match.matching.solver.centre import about_centre
from sae_match.matching.solver.certificate import lower_bound
from sae_match.matching.solver.classes import Classes, Flow
from sae_match.matching.solver.passes import Found
from sae_match.matching.solver.pricing import DensePricer, Hits
from sae_match.matching.solver.rounds import Rounds
from sae_match.matching.solver.sparse import SparsePricer, _rounded_up, splitting_error
from tests.matching.problems import PRECISIONS, naive_costs, normal, rounding

N = 40
SEEDS = range(100)


def exact(number):
    return Fraction(float(number))


def exact_optimum(costs, off=None):
    n = len(costs)
    least = [[exact(costs[i, j]) - (0 if off is None else exact(off[i, j])) for j in range(n)] for i in range(n)]
    return min(sum(least[i][order[i]] for i in range(n)) for order in itertools.permutations(range(n)))


def listed_everywhere(seed):
    """A bound whose duals are huge beside what decides: all assignments cost the same but for rounding."""
    generator = np.random.default_rng(seed)
    u, v = (10.0 ** generator.uniform(-3, 9, 4) for _ in range(2))
    costs = u[:, None] + v
    rows, columns = (index.flatten() for index in np.indices(costs.shape))
    pairs = CandidatePairs.collected(rows, columns, costs.flatten(), np.zeros(costs.size), n_columns=4)
    return costs, lower_bound(pairs, Flow.single(np.arange(4), 4), u, v, np.full(4, np.inf))


def not_listed(seed):
    """The same where other pairs are known only to cost no less than the duals and something more."""
    generator = np.random.default_rng(seed)
    u, v = (10.0 ** generator.uniform(-3, 9, 4) for _ in range(2))
    more = 10.0 ** generator.uniform(-3, 3, 4)
    costs = u[:, None] + v + more[:, None]
    for i, j in itertools.product(range(4), range(4)):
        while exact(costs[i, j]) < exact(u[i]) + exact(v[j]) + exact(more[i]):
            costs[i, j] = np.nextafter(costs[i, j], np.inf)
    own = np.arange(4)
    pairs = CandidatePairs.collected(own, own, costs[own, own], np.zeros(4), n_columns=4)
    return costs, lower_bound(pairs, Flow.single(own, 4), u, v, more)


@pytest.mark.parametrize("problem", [listed_everywhere, not_listed])
def test_rounding_never_lifts_the_bound_above_the_optimum(problem, monkeypatch):
    def lifted():
        return sum(exact(bound) > exact_optimum(costs) for costs, bound in map(problem, SEEDS))

    assert lifted() == 0
    monkeypatch.setattr(certificate, "_ROUNDED", 0.0)
    # The sum is rounded downwards, and hides most of what its terms have lost.
    assert lifted() > 0
    monkeypatch.setattr(certificate, "_sum_rounded_down", math.fsum)
    assert lifted() > len(SEEDS) / 10


def test_products_of_counts_never_lift_the_bound(monkeypatch):
    """A row and a column that stand for several features each: every cost counts several times."""

    def lifted():
        count = 0
        for seed in SEEDS:
            cost = np.random.default_rng(seed).uniform(1, 2, 1)
            pairs = CandidatePairs.collected(np.zeros(1, int), np.zeros(1, int), cost, np.zeros(1), n_columns=1)
            flow = Flow(np.zeros(1, int), np.zeros(1, int), np.array([2**20 + 7]), np.array([2**20 + 7]))
            bound = lower_bound(pairs, flow, cost, np.zeros(1), np.full(1, np.inf))
            count += exact(bound) > exact(cost[0]) * (2**20 + 7)
        return count

    assert lifted() == 0
    monkeypatch.setattr(certificate, "_ROUNDED", 0.0)
    assert lifted() > len(SEEDS) / 10


def test_a_bound_is_no_more_than_its_duals_are_worth(monkeypatch):
    """A row of two features, one for each of two columns: prices of columns meet, and their difference is rounded."""

    def lifted():
        count, none, both = 0, np.zeros(2, int), np.arange(2)
        for seed in SEEDS:
            v = np.random.default_rng(seed).uniform([0.1, 100], [0.2, 200])
            pairs = CandidatePairs.collected(none, both, np.array([1.0, 1e6]), np.zeros(2), n_columns=2)
            flow = Flow(none, both, np.ones(2, int), np.ones(2, int))
            bound = lower_bound(pairs, flow, 1 - v[:1], v, np.full(1, np.inf))
            count += exact(bound) > 2 + exact(v[1]) - exact(v[0])
        return count

    assert lifted() == 0
    monkeypatch.setattr(certificate, "_ROUNDED", 0.0)
    assert lifted() > len(SEEDS) / 10


@pytest.mark.parametrize("seed", range(20))
def test_a_bound_of_many_costs_is_not_their_sum_rounded_up(seed):
    costs = np.random.default_rng(seed).uniform(1, 2, 4)
    apart = np.diag(costs) + 9 * (1 - np.eye(4))
    rows, columns = (index.flatten() for index in np.indices(apart.shape))
    pairs = CandidatePairs.collected(rows, columns, apart.flatten(), np.zeros(16), n_columns=4)
    bound = lower_bound(pairs, Flow.single(np.arange(4), 4), costs, np.zeros(4), np.full(4, np.inf))
    assert exact(bound) <= exact_optimum(apart)
    assert bound == pytest.approx(costs.sum(), rel=1e-15)


@pytest.mark.parametrize("seed", range(20))
def test_no_costs_within_what_they_may_be_off_have_a_cheaper_assignment_than_the_bound(seed):
    generator = np.random.default_rng(seed)
    u, v, off = generator.uniform(1, 2, 4), generator.uniform(-1, 0, 4), generator.uniform(0, 0.5, (4, 4))
    costs = u[:, None] + v + generator.uniform(0, 0.3, (4, 4)) * (1 - np.eye(4)) + 1
    rows, columns = (index.flatten() for index in np.indices(costs.shape))
    pairs = CandidatePairs.collected(rows, columns, costs.flatten(), off.flatten(), n_columns=4)
    bound = lower_bound(pairs, Flow.single(np.arange(4), 4), u, v, np.full(4, np.inf))
    assert exact(bound) <= exact_optimum(costs, off)


def vectors(seed, offset, factor):
    return FeatureVectors((normal(seed, N, 4) + offset,), (torch.full((N,), factor, dtype=torch.float64),), ("W_dec",))


#: What the passes of a pricer compute in; none for the one that holds the matrix of all costs.
PASSES = {**PRECISIONS, "dense": None}


def made(source, target, precision):
    if precision is None:
        return DensePricer(source, target)
    return SparsePricer(source, target, precision=precision, block=(64, 64))


def worst(source, target, u, v, precision, threshold=10.0):
    """Largest error of a pass's reduced costs over what the pass says that it is at most."""
    pricer = made(source, target, precision)
    hits = pricer.scan(u, v, threshold)
    rows, columns = (
        [[exact(x) * exact(factor) for x in row] for row, factor in zip(side.parts[0], side.factors[0], strict=True)]
        for side in (source, target)
    )
    shares = []
    for i, j, reduced, radius in zip(
        hits.rows[::5], hits.columns[::5], hits.reduced[::5], hits.radius[::5], strict=True
    ):
        true = sum((x - y) ** 2 for x, y in zip(rows[i], columns[j], strict=True)) - exact(u[i]) - exact(v[j])
        unit = exact(pricer.source_lengths[i]) * exact(pricer.target_lengths[j])
        shares.append(float(abs(exact(reduced) - true / unit)) / radius)
    return max(shares)


@pytest.mark.parametrize("precision", PASSES.values(), ids=PASSES)
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e7])
@pytest.mark.parametrize("dual", [0.0, 1e6, 1e10])
def test_no_reduced_cost_is_off_by_more_than_a_pass_says(precision, offset, dual):
    source, target = vectors(0, offset, 1 / 3), vectors(1, offset, 1 / 3)
    assert worst(source, target, np.full(N, dual), np.full(N, -dual), precision) <= 1


@pytest.mark.parametrize("precision", PASSES.values(), ids=PASSES)
@pytest.mark.parametrize(("u", "v", "threshold"), [(1e9, 0.0, 10.0), (0.0, 1e9, 10.0), (0.0, 0.0, 1e9)])
def test_large_duals_of_one_side_and_large_thresholds_are_accounted_for(precision, u, v, threshold):
    source, target = vectors(0, 0.0, 1 / 3), vectors(1, 0.0, 1 / 3)
    assert worst(source, target, np.full(N, u), np.full(N, v), precision, threshold) <= 1


def test_what_scaling_rounds_comes_on_top_of_what_costs_are_off():
    source, target = vectors(0, 0.0, 1 / 3), vectors(1, 0.0, 1 / 3)
    scaling = DensePricer(source, target)._cost_error.numpy() - rounding(source, target)[:, 0]
    # Two reciprocals and two products, each rounded once.
    assert (scaling >= 3.9 * UNIT * naive_costs(source, target).max(1)).all()


def test_what_cancels_between_duals_and_squares_is_accounted_for(monkeypatch):
    problem = vectors(0, 0.0, 1.0), vectors(1, 0.0, 1.0), np.full(N, 1e8), np.full(N, -1e8), torch.float64
    assert worst(*problem) <= 1
    monkeypatch.setattr(SparsePricer, "_cancelling_error", lambda *_: 0.0)
    assert worst(*problem) > 1


def test_what_float64_makes_of_vectors_far_from_the_origin_is_accounted_for(monkeypatch):
    problem = vectors(0, 1e6, 1 / 3), vectors(1, 1e6, 1 / 3), np.zeros(N), np.zeros(N), torch.float64
    assert worst(*problem) <= 1
    monkeypatch.setattr(SparsePricer, "_float64_error", lambda *_: 0.0)
    assert worst(*problem) > 1


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_products_of_split_numbers_are_as_close_as_is_said(precision):
    pricer = SparsePricer(vectors(0, 0.0, 1.0), vectors(1, 0.0, 1.0), precision=precision, block=(64, 64))
    generator = torch.Generator().manual_seed(0)
    left, right = (10 ** (20 * torch.rand(500, generator=generator, dtype=torch.float64) - 10) for _ in range(2))
    parts = [[part.double() for part in pricer._split(numbers)] for numbers in (left, right)]
    kept = [(p, q) for p, q in itertools.product(range(3), range(3)) if p + q < 3]
    for at in range(0, 500, 5):
        product = exact(left[at]) * exact(right[at])
        sums = sum(exact(parts[0][p][at]) * exact(parts[1][q][at]) for p, q in kept)
        assert abs(product - sums) <= exact(splitting_error(precision)) * product


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_errors_of_splitting_and_of_summing_add_up(precision):
    pricer = SparsePricer(vectors(0, 0.0, 1.0), vectors(1, 0.0, 1.0), precision=precision, block=(64, 64))
    terms = pricer._x.shape[1] + 2
    summing = terms * (2.0**-53 if precision == torch.float64 else 2.0**-24)
    size = 1e9
    least = pricer._margin(0.0, 0.0)
    # Twice a cosine, of vectors that are off themselves.
    assert least >= pricer._copy_error + 2 * summing
    assert pricer._margin(size, 0.0) - least >= (splitting_error(precision) + summing) * size
    assert pricer._margin(0.0, -size) - least >= summing * size


def test_copies_in_float64_are_rounded_too():
    sides = vectors(0, 0.0, 1 / 3), vectors(1, 0.0, 1 / 3)
    pricer = made(*sides, torch.float64)
    # Of either side, what a vector is divided by and each quotient.
    assert pricer._copy_error - pricer._float64_error(*about_centre(*sides)) >= 4 * UNIT


@pytest.mark.parametrize("side", [0, 1])
def test_what_either_side_loses_is_accounted_for(side):
    pricer = made(vectors(0, 0.0, 1.0), vectors(1, 0.0, 1.0), torch.float64)
    duals = [torch.zeros(N, dtype=torch.float64) for _ in range(2)]
    without = pricer._cancelling_error(*duals)
    duals[side][3] = -1e9
    units = (pricer.source_lengths, pricer.target_lengths)[side][3]
    others = (pricer.target_lengths, pricer.source_lengths)[side].min()
    # The difference from the square is rounded, and so is the quotient.
    assert pricer._cancelling_error(*duals) - without >= 1.9 * UNIT * 1e9 / (units * others)


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_a_raised_threshold_is_never_rounded_down(precision):
    for number in np.concatenate([10.0 ** np.linspace(-12, 12, 200), -(10.0 ** np.linspace(-12, 12, 200))]):
        raised = torch.tensor(_rounded_up(number, precision), dtype=torch.float64)
        assert raised == raised.to(precision)
        assert 0 <= exact(raised) - exact(number) <= 2 * torch.finfo(precision).eps * abs(exact(number))


def test_quotients_are_rounded_before_they_are_split():
    generator = np.random.default_rng(0)
    off = []
    for _ in range(300):
        whole, row, column, scale = generator.uniform(1, 2, 4)
        product = exact((whole / row) / scale) * exact(scale / column)
        off.append(abs(product / (exact(whole) / exact(row) / exact(column)) - 1))
    assert max(off) <= exact(splitting_error(torch.float64))


@pytest.mark.parametrize("threshold", [-0.5, 0.5])
def test_what_a_pass_leaves_out_is_taken_for_the_least_it_may_be(threshold):
    """Pairs that are not listed are above the threshold times both lengths, whichever column they are of."""
    long = normal(1, N, 4) * torch.logspace(0, 2, N, dtype=torch.float64)[:, None]
    ones = torch.ones(N, dtype=torch.float64)
    source, target = (FeatureVectors((rows,), (ones,), ("W_dec",)) for rows in (normal(0, N, 4), long))
    pricer = SparsePricer(source, target, precision=torch.float64, block=(64, 64))
    rounds = Rounds(Classes.single(source), Classes.single(target), pricers=[lambda: pricer])
    before = rounds.first(lambda _: None)
    none, nothing = np.empty(0, dtype=np.int64), np.empty(0)
    found = Found(Hits(none, none, nothing, nothing), threshold=threshold, whole=True, priced=0)
    own = np.arange(N)
    alone = before.pairs.chosen(np.isin(np.arange(len(before.pairs)), before.pairs.positions(own, before.flow.columns)))
    least = (threshold * np.outer(rounds._row_lengths, rounds._column_lengths)).min(1)
    # Duals at which what is left out decides.
    tight = replace(before, u=alone.cost - before.v[before.flow.columns] - least - 1.0)
    for shift in (-2.0, 0.0, 2.0):
        at = replace(tight, u=tight.u + shift)
        assert rounds._proven(alone, at, found) == lower_bound(alone, at.flow, at.u, at.v, least)


def rounds_of_two_sides():
    source, target = vectors(0, 0.0, 1.0), vectors(1, 0.0, 1.0)
    pricer = made(source, target, torch.float64)
    return Rounds(Classes.single(source), Classes.single(target), pricers=[lambda: pricer])


def test_an_assignment_costs_the_most_that_its_pairs_may():
    own, off = np.arange(N), np.full(N, 0.25)
    pairs = CandidatePairs.collected(own, own, np.full(N, 2.0), off, n_columns=N)
    assert rounds_of_two_sides()._objective(pairs, Flow.single(own, N)) == 2.25 * N


def test_costs_that_are_made_of_duals_are_rounded_as_these_are():
    own, zero, dual = np.arange(N), np.zeros(N), np.full(N, 1e9)
    found = rounds_of_two_sides()._candidates(Hits(own, own, zero, zero), dual, -dual)
    assert (found.radius >= 3 * UNIT * 2e9).all()
