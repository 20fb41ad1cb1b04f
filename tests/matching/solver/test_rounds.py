"""The certificate, checked over all pairs by float64 that shares nothing with the solver."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from sae_match.matching.solver.classes import Classes
from sae_match.matching.solver.pricing import DensePricer
from sae_match.matching.solver.rounds import Rounds
from sae_match.matching.solver.sparse import SparsePricer
from sae_match.matching.solver.starting import Prices
from tests.matching.problems import PRECISIONS, naive_costs, normal, optimum, plain

PRICERS = {"dense": DensePricer} | {
    name: partial(SparsePricer, precision=precision, block=(64, 128)) for name, precision in PRECISIONS.items()
}
# Rows, columns, dimensions.
SHAPES = [(1, 1), (2, 3), (60, 60), (250, 250), (60, 200)]


def rounds_of(source, target, pricer, **told):
    return Rounds(Classes.single(source), Classes.single(target), pricers=[pricer], **told)


def problem(seed, n_rows, n_columns, d=8):
    """Rows and columns, of which half the columns are planted near rows."""
    rows, columns = normal(seed, n_rows, d), normal(seed + 1000, n_columns, d)
    planted = n_rows // 2
    columns[:planted] = 0.8 * rows[:planted] + 0.3 * columns[:planted]
    return plain(rows), plain(columns)


def finished(rounds):
    """Rounds until the duals of the last pass are what proves the bound."""
    solution = rounds.first(lambda _: None)
    for _ in range(40):
        if solution.gap <= 1e-9 or solution.objective - solution.lower_bound <= rounds.resolution(solution):
            break
        solution = rounds.next(solution, lambda _: None)
    return solution


def brute_force(costs, v):
    """Value of the best dual solution that has the given column duals, by looking at every pair."""
    if len(costs) < len(v):
        assert v.max() <= 0
    return float((costs - v).min(1).sum() + v.sum())


def with_being_alone(costs, rejection_cost):
    """A column for each row that stands for no partner."""
    alone = np.full((len(costs), len(costs)), math.inf)
    np.fill_diagonal(alone, rejection_cost)
    return np.hstack([costs, alone])


def assert_certified(solution, costs):
    # What the brute force's own float64 may be off by.
    slack = 1e-14 * (np.abs(solution.u).sum() + np.abs(solution.v).sum() + solution.objective)
    best = optimum(np.where(np.isinf(costs), 1e9, costs))
    # No cost is below zero, and so no optimum is.
    proven = max(0.0, brute_force(costs, solution.v))
    assert solution.lower_bound <= best + slack
    assert proven <= best + slack
    assert solution.lower_bound <= proven + slack
    assert solution.objective == pytest.approx(best, rel=1e-9, abs=slack)
    assert proven >= best * (1 - 1e-6) - slack


@pytest.mark.parametrize("pricer", PRICERS.values(), ids=PRICERS)
@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_the_duals_prove_the_bound_over_all_pairs(seed, n_rows, n_columns, pricer):
    a, b = problem(seed, n_rows, n_columns)
    rounds = rounds_of(a, b, partial(pricer, a, b))
    assert_certified(finished(rounds), naive_costs(a, b).astype(float))


@pytest.mark.parametrize("pricer", PRICERS.values(), ids=PRICERS)
@pytest.mark.parametrize("rejection_cost", [0.0, 3.0, 6.0, 1000.0])
@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
def test_the_duals_prove_the_bound_where_rows_may_be_left_alone(n_rows, n_columns, rejection_cost, pricer):
    a, b = problem(0, n_rows, n_columns)
    rounds = rounds_of(a, b, partial(pricer, a, b), rejection_cost=rejection_cost)
    costs = with_being_alone(naive_costs(a, b).astype(float), rejection_cost)
    assert_certified(finished(rounds), costs)


@pytest.mark.parametrize("pricer", PRICERS.values(), ids=PRICERS)
def test_the_bound_holds_after_every_round(pricer):
    a, b = problem(0, 250, 250, d=5)
    rounds = rounds_of(a, b, partial(pricer, a, b))
    best = optimum(naive_costs(a, b))
    solution = rounds.first(lambda _: None)
    for _ in range(6):
        later = rounds.next(solution, lambda _: None)
        assert solution.lower_bound <= later.lower_bound <= best * (1 + 1e-12)
        assert best * (1 - 1e-12) <= later.objective <= solution.objective
        solution = later


def test_a_round_goes_on_from_a_solution_of_another_process():
    a, b = problem(0, 250, 250, d=5)
    first, second = (rounds_of(a, b, partial(PRICERS["bfloat16"], a, b)) for _ in range(2))
    begun = first.next(first.first(lambda _: None), lambda _: None)
    later = second.next(begun, lambda _: None)
    assert later.rounds == 3
    assert begun.lower_bound <= later.lower_bound <= optimum(naive_costs(a, b)) * (1 + 1e-12)


def test_duplicates_beyond_the_reach_of_bfloat16_do_not_stall():
    """Vectors of which most are zero or equal: more pairs are in doubt than are made exact at first."""
    rows = torch.zeros(40, 7, dtype=torch.float64)
    a, b = plain(rows), plain(normal(1, 40, 7))
    rounds = rounds_of(a, b, partial(PRICERS["bfloat16"], a, b))
    assert_certified(finished(rounds), naive_costs(a, b).astype(float))


@pytest.mark.parametrize("rejection_cost", [math.inf, 12.0])
def test_lengths_over_many_orders_do_not_stall(rejection_cost):
    generator = torch.Generator().manual_seed(0)
    rows = normal(0, 30, 7) * torch.exp(3 * torch.randn(30, 1, generator=generator, dtype=torch.float64))
    a, b = plain(rows), plain(normal(1, 30, 7))
    rounds = rounds_of(
        a,
        b,
        partial(PRICERS["bfloat16"], a, b),
        rejection_cost=rejection_cost,
    )
    best = optimum(np.minimum(naive_costs(a, b), rejection_cost))
    assert finished(rounds).objective == pytest.approx(best, rel=1e-9)


class Overconfident(SparsePricer):
    """Claims to be a thousand times as precise as it is."""

    def scan(self, *args, **options):
        hits = super().scan(*args, **options)
        return replace(hits, radius=hits.radius / 1000)


class Falsified(SparsePricer):
    """Takes pairs of even rows and columns for cheaper than they are."""

    def scan(self, *args, **options):
        hits = super().scan(*args, **options)
        even = (hits.rows % 2 == 0) & (hits.columns % 2 == 0)
        return replace(hits, reduced=hits.reduced - 0.3 * even)


class Forgetful(SparsePricer):
    """Overlooks half of all pairs."""

    def scan(self, *args, **options):
        hits = super().scan(*args, **options)
        kept = (7 * hits.rows + 3 * hits.columns) % 2 == 0
        return replace(
            hits,
            rows=hits.rows[kept],
            columns=hits.columns[kept],
            reduced=hits.reduced[kept],
            radius=hits.radius[kept],
        )


@pytest.mark.parametrize("dishonest", [Overconfident, Falsified])
def test_a_pass_that_errs_more_than_it_says_is_caught(dishonest):
    a, b = problem(0, 250, 250)
    rounds = rounds_of(
        a,
        b,
        partial(dishonest, a, b, precision=torch.bfloat16, block=(64, 128)),
    )
    with pytest.raises(RuntimeError, match="a pass was off by"):
        finished(rounds)


def test_pairs_that_a_pass_overlooks_are_caught_by_the_brute_force():
    """The check can fail: a bound that ignores half of the pairs is too high."""
    a, b = problem(0, 250, 250)
    rounds = rounds_of(
        a,
        b,
        partial(Forgetful, a, b, precision=torch.bfloat16, block=(64, 128)),
    )
    solution, costs = finished(rounds), naive_costs(a, b).astype(float)
    assert solution.lower_bound > optimum(costs) * (1 + 1e-6)
    with pytest.raises(AssertionError):
        assert_certified(solution, costs)


@pytest.mark.parametrize("rejection_cost", [math.inf, 6.0])
@pytest.mark.parametrize("pricer", PRICERS.values(), ids=PRICERS)
def test_whatever_prices_it_starts_from_the_optimum_is_proven(pricer, rejection_cost):
    a, b = problem(0, 60, 200)
    costs = naive_costs(a, b).astype(float)
    if math.isfinite(rejection_cost):
        costs = with_being_alone(costs, rejection_cost)
    wild = np.random.default_rng(0).normal(0, 30, (2, costs.shape[1]))
    for prices in (Prices(), Prices(wild[0][:60], wild[1]), Prices(*wild)):
        rounds = rounds_of(a, b, partial(pricer, a, b), rejection_cost=rejection_cost, prices=prices)
        assert_certified(finished(rounds), costs)
