import logging
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from sae_match import SAE, match
from sae_match.errors import UserError
from sae_match.matching.solver.classes import Classes
from sae_match.matching.solver.planning import Plan
from sae_match.matching.solver.pricing import DensePricer
from sae_match.matching.solver.rounds import Rounds
from sae_match.matching.solver.solving import pricers_of, solve
from sae_match.matching.solver.sparse import SparsePricer
from sae_match.matching.solver.starting import Prices
from sae_match.matching.tensor_files import load_tensors
from sae_match.matching.tuning import TUNING
from tests.matching.problems import naive_costs, normal, optimum, plain

SPARSE = Plan("sparse", (torch.bfloat16, torch.float32, torch.float64), (64, 128), "as asked")
DENSE = Plan("dense", (), (0, 0), "as asked")
# Passes that bring so few pairs that it takes more than three rounds.
FEW = replace(TUNING, first_pairs=1, sparse_pairs=1)


@pytest.fixture
def problem():
    """Two sides."""
    return plain(normal(0, 300, 40)), plain(normal(1, 300, 40))


def test_a_plan_makes_its_pricers():
    a, b = plain(normal(0, 30, 4)), plain(normal(1, 40, 4))
    (dense,) = pricers_of(DENSE, a, b)
    assert isinstance(dense(), DensePricer)
    sparse = [make() for make in pricers_of(SPARSE, a, b)]
    assert [pricer.precision for pricer in sparse] == list(SPARSE.precisions)
    assert all(isinstance(pricer, SparsePricer) for pricer in sparse)


def solved(
    sides, *, plan=SPARSE, watch=lambda _: None, checkpoint=None, tolerance=1e-6, rejection_cost=math.inf, tuning=FEW
):
    return solve(
        *sides,
        plan,
        rejection_cost=rejection_cost,
        tolerance=tolerance,
        watch=watch,
        checkpoint=checkpoint,
        tuning=tuning,
    )


def test_a_solution_leaves_prices_from_which_a_first_pass_with_few_pairs_finds_it_again():
    sides, prices = (plain(normal(0, 600, 40)), plain(normal(1, 600, 40))), Prices()
    exact = replace(SPARSE, precisions=(torch.float64,))
    told = {"rejection_cost": math.inf, "tolerance": 1e-9, "watch": lambda _: None, "checkpoint": None}
    found = solve(*sides, exact, prices=prices, **told)
    classes, pricers = [Classes.single(side) for side in sides], pricers_of(exact, *sides, FEW)
    cold, warm = (
        Rounds(*classes, pricers=pricers, prices=each, tuning=FEW).first(lambda _: None).objective
        for each in (None, prices)
    )
    assert warm == pytest.approx(found.objective, rel=1e-12)
    assert cold > found.objective * (1 + 1e-6)


def slack(found):
    """How far, at most, the objective is above the optimum."""
    return found.objective - found.lower_bound


def interrupt_in(round_number):
    def watch(status):
        if status.round == round_number:
            raise KeyboardInterrupt

    return watch


def cost(sides, permutation):
    costs = naive_costs(*sides)
    paired = np.flatnonzero(permutation >= 0)
    return costs[paired, permutation[paired]].sum()


@pytest.mark.parametrize("plan", [SPARSE, DENSE], ids=["sparse", "dense"])
def test_the_slack_is_what_the_optimum_may_be_below_the_cost(problem, plan):
    found = solved(problem, plan=plan)
    best = optimum(naive_costs(*problem))
    assert cost(problem, found.permutation) == pytest.approx(best, rel=1e-9)
    assert 0 <= slack(found) <= 1e-6 * best


@pytest.mark.parametrize("n_target", [40, 120])
def test_the_narrower_side_is_matched_whole(n_target):
    sides = plain(normal(0, 80, 5)), plain(normal(1, n_target, 5))
    found = solved(sides)
    assert len(found.permutation) == 80
    assert (found.permutation >= 0).sum() == min(80, n_target)
    assert cost(sides, found.permutation) == pytest.approx(optimum(naive_costs(*sides)), rel=1e-9)


def test_the_evidence_counts_what_was_done(problem):
    found = solved(problem)
    assert (found.evidence.solver, found.evidence.reason) == ("sparse", "as asked")
    assert found.evidence.rounds > 3
    assert 300 * 300 < found.evidence.pairs_priced <= found.evidence.rounds * 300 * 300
    assert found.evidence.seconds > 0
    assert found.evidence.peak_memory > 2**20


def test_watchers_are_told_of_rising_progress(problem):
    told = []
    found = solved(problem, watch=told.append)
    assert [(status.round, status.done) for status in told] == sorted((status.round, status.done) for status in told)
    assert {status.round for status in told} == set(range(1, found.evidence.rounds + 1)) > {1, 2, 3}
    assert all(0 < status.done <= 1 for status in told)
    gaps = [status.gap for status in told]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] == math.inf > gaps[-1]


def test_an_interrupted_solution_goes_on_where_it_stopped(problem, tmp_path):
    whole, file = solved(problem), tmp_path / "m.unfinished"
    with pytest.raises(KeyboardInterrupt):
        solved(problem, watch=interrupt_in(3), checkpoint=file)
    assert file.is_file()
    told = []
    resumed = solved(problem, watch=told.append, checkpoint=file)
    assert told[0].round == 3
    assert told[0].gap < math.inf
    assert np.array_equal(resumed.permutation, whole.permutation)
    assert slack(resumed) <= 1e-6 * optimum(naive_costs(*problem))
    assert resumed.evidence.rounds == told[-1].round
    assert resumed.evidence.pairs_priced > 2 * 300 * 300
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_partial_solution_goes_on_as_well(problem, tmp_path):
    file = tmp_path / "m.unfinished"
    with pytest.raises(KeyboardInterrupt):
        solved(problem, watch=interrupt_in(2), checkpoint=file, rejection_cost=2.0)
    resumed = solved(problem, checkpoint=file, rejection_cost=2.0)
    assert np.array_equal(resumed.permutation, solved(problem, rejection_cost=2.0).permutation)


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_truncated_checkpoint_starts_again_and_says_so(problem, tmp_path, caplog, size):
    file = tmp_path / "m.unfinished"
    with pytest.raises(KeyboardInterrupt):
        solved(problem, watch=interrupt_in(3), checkpoint=file)
    file.write_bytes(file.read_bytes()[:size])
    told = []
    found = solved(problem, watch=told.append, checkpoint=file)
    assert told[0].round == 1
    assert "starting again" in caplog.text
    assert np.array_equal(found.permutation, solved(problem).permutation)
    assert not file.exists()


def test_a_checkpoint_of_another_problem_starts_again(problem, tmp_path, caplog):
    file = tmp_path / "m.unfinished"
    with pytest.raises(KeyboardInterrupt):
        solved(problem, watch=interrupt_in(3), checkpoint=file)
    other = plain(normal(2, 50, 5)), plain(normal(3, 50, 5))
    found = solved(other, checkpoint=file)
    assert "is of another problem; starting again" in caplog.text
    assert cost(other, found.permutation) == pytest.approx(optimum(naive_costs(*other)), rel=1e-9)


def test_a_checkpoint_that_cannot_be_written_is_done_without(problem, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    found = solved(problem, checkpoint=tmp_path / "file" / "m.unfinished")
    assert "this round would be made again" in caplog.text
    assert np.array_equal(found.permutation, solved(problem).permutation)


def test_a_checkpoint_is_a_file_of_this_format(problem, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        solved(problem, watch=interrupt_in(2), checkpoint=tmp_path / "m")
    tensors, numbers = load_tensors(tmp_path / "m", ("flow_columns", "u", "v"))
    assert len(tensors["flow_columns"]) == 300
    assert numbers["rounds"] == "1"
    with pytest.raises(UserError, match="not a sound matching file"):
        load_tensors(tmp_path / "m", ("permutation",))


@pytest.mark.parametrize(("rounds", "reached"), [(1, "after 1 rounds the gap is"), (2, "after 2 rounds the gap is")])
def test_what_was_reached_is_said_where_rounds_run_out(problem, caplog, rounds, reached):
    with caplog.at_level(logging.WARNING):
        found = solved(problem, tuning=replace(FEW, most_rounds=rounds))
    assert reached in caplog.text
    assert "not 1.0e-06" in caplog.text
    best, paid = optimum(naive_costs(*problem)), cost(problem, found.permutation)
    assert paid - slack(found) <= best <= paid * (1 + 1e-9)
    assert slack(found) > 1e-6 * paid


def test_a_tolerance_that_is_wide_takes_fewer_rounds(problem):
    wide = solved(problem, tolerance=0.1)
    assert wide.evidence.rounds < solved(problem).evidence.rounds
    assert slack(wide) <= 0.1 * cost(problem, wide.permutation)


def test_the_checkpoint_of_another_target_is_not_gone_on_with(make_sae, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("sae_match.matching.matching.solve", partial(solve, tuning=FEW))
    file = tmp_path / "unfinished"
    source, target = make_sae(0, d_in=16, d_sae=200), make_sae(1, d_in=16, d_sae=200)

    def interrupt(status):
        if status.round == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        match(source, target, solver="sparse", watch=interrupt, checkpoint=file)
    assert file.is_file()
    halved = SAE(target.W_enc / 2, target.b_enc / 2, target.W_dec / 2, target.b_dec, target.threshold)
    found = match(source, halved, solver="sparse", checkpoint=file)
    assert "is of another problem; starting again" in caplog.text
    assert found.cost == pytest.approx(match(source, halved, solver="dense").cost, rel=1e-9)
    assert not file.exists()


def test_an_assignment_says_how_far_it_is_and_can_be_interrupted(problem, monkeypatch):
    monkeypatch.setattr("sae_match.matching.solver.assignment.TUNING", replace(TUNING, augmented_rows=1, bids=0))
    told = []
    expected = solved(problem, watch=told.append)
    shares = [status.assigned for status in told if status.assigned is not None]
    assert len(shares) > 5
    assert all(0 <= share < 1 for share in shares)
    assert np.array_equal(expected.permutation, solved(problem).permutation)

    def interrupt(status):
        if status.assigned:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solved(problem, watch=interrupt)
