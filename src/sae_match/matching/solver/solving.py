"""From two sides' vectors to a certified assignment: rounds until the gap is small, watched and resumable."""

import logging
import math
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from sae_match.errors import UserError
from sae_match.matching.cost import FeatureVectors
from sae_match.matching.result import Evidence
from sae_match.matching.solver.assignment import CandidatePairs
from sae_match.matching.solver.classes import Classes, Flow, together
from sae_match.matching.solver.planning import Plan
from sae_match.matching.solver.pricing import DensePricer, Pricer
from sae_match.matching.solver.rounds import Rounds, Solution
from sae_match.matching.solver.sparse import SparsePricer
from sae_match.matching.solver.starting import Prices
from sae_match.matching.tensor_files import load_tensors, save_tensors
from sae_match.matching.tuning import TUNING, Tuning

log = logging.getLogger(__name__)

_FLOW, _PAIRS = ("rows", "columns", "amounts"), ("rows", "columns", "cost", "radius")
_TENSORS = (*(f"flow_{name}" for name in _FLOW), "u", "v", *_PAIRS)


@dataclass(frozen=True)
class Status:
    """Where a solution stands.

    Attributes:
        round: The pass that is being made, from one.
        done: Fraction of it.
        gap: Relative gap proven so far; infinite before the second pass.
        assigned: Share of the features that have found a partner among what the pass brought; none during a pass.
        against: What is matched in place of the target, such as `random target 2 of 8`; empty for the target itself.
    """

    round: int
    done: float
    gap: float
    assigned: float | None = None
    against: str = ""


Watch = Callable[[Status], None]
"""Told where a solution stands, many times a pass."""


@dataclass(frozen=True, eq=False)
class Solved:
    """A solved problem.

    Attributes:
        permutation: Target feature of each source feature, -1 where there is none.
        objective: What it costs, with the rejection cost of each feature of the smaller side that is
            left alone.
        lower_bound: No assignment's objective is below it.
        evidence: What it took.
    """

    permutation: Int64[np.ndarray, " n_source"]
    objective: float
    lower_bound: float
    evidence: Evidence


def pricers_of(
    plan: Plan, source: FeatureVectors, target: FeatureVectors, tuning: Tuning = TUNING
) -> list[Callable[[], Pricer]]:
    """Make what the rounds of a plan ask about all pairs, the coarsest first."""
    if plan.solver == "dense":
        return [partial(DensePricer, source, target, tuning=tuning)]
    return [
        partial(SparsePricer, source, target, precision=precision, block=plan.block, tuning=tuning)
        for precision in plan.precisions
    ]


def solve(
    source: FeatureVectors,
    target: FeatureVectors,
    plan: Plan,
    *,
    rejection_cost: float,
    tolerance: float,
    watch: Watch,
    checkpoint: Path | None,
    problem: str = "",
    prices: Prices | None = None,
    tuning: Tuning = TUNING,
) -> Solved:
    """Rounds until the relative gap is at most `tolerance`.

    Args:
        source: One side.
        target: The other side; the smaller side is matched whole.
        plan: How.
        rejection_cost: What leaving a feature of the smaller side alone costs; infinite for never.
        tolerance: Relative gap that is good enough.
        watch: Told where it stands.
        checkpoint: File that holds the last finished round until the solution is complete. What it
            holds of the same problem is where the solution goes on.
        problem: Names the problem in the checkpoint: another one's is not gone on with.
        prices: Where the solution starts, if there are any, and where its own are left.
        tuning: How many pairs passes bring, how many rounds are made, and the like.
    """
    # Small problems are over before anyone has read of them.
    level = logging.INFO if plan.solver == "sparse" else logging.DEBUG
    log.log(level, "%d x %d features by the %s solver: %s", len(source), len(target), plan.solver, plan.reason)
    start, turned = time.perf_counter(), len(source) > len(target)
    rows, columns = together((target, source) if turned else (source, target), tuning.equal_share)
    if not (rows.are_single and columns.are_single):
        log.log(level, "%d x %d of them are unlike all others of their side", len(rows), len(columns))
    pricers = pricers_of(plan, rows.vectors, columns.vectors, tuning)
    rounds = Rounds(rows, columns, pricers=pricers, rejection_cost=rejection_cost, prices=prices, tuning=tuning)
    solution, before = _resumed(checkpoint, rounds, problem)
    if solution is None:
        rounds.assigning = lambda share: watch(Status(1, 1.0, math.inf, share))
        solution = rounds.first(lambda done: watch(Status(1, done, math.inf)))
    while not _good_enough(solution, rounds, tolerance) and solution.rounds < tuning.most_rounds:
        if checkpoint is not None:
            _save(solution, checkpoint, before + time.perf_counter() - start, problem)
        rounds.assigning = partial(_report, watch, solution, 1.0)
        solution = rounds.next(solution, partial(_report, watch, solution))
        log.debug("round %d: objective %.9g, bound %.9g", solution.rounds, solution.objective, solution.lower_bound)
    if prices is not None:
        prices.u, prices.v = solution.u, solution.v
    proven = _good_enough(solution, rounds, tolerance)
    if not proven:
        log.warning("after %d rounds the gap is %.1e, not %.1e", solution.rounds, solution.gap, tolerance)
    elif solution.gap > tolerance and solution.objective > rounds.resolution(solution):
        log.warning("the gap is %.1e: costs this small beside the vectors are not told apart in float64", solution.gap)
    if checkpoint is not None:
        with suppress(OSError):
            checkpoint.unlink()
    seconds = before + time.perf_counter() - start
    return Solved(
        permutation=_permutation(solution.flow, rows, columns, turned),
        objective=solution.objective,
        lower_bound=solution.lower_bound,
        evidence=Evidence(
            plan.solver, plan.reason, solution.rounds, solution.pairs_priced, seconds, _peak_memory(source), proven
        ),
    )


def _report(watch: Watch, solution: Solution, done: float, assigned: float | None = None) -> None:
    watch(Status(solution.rounds + 1, done, solution.gap, assigned))


def _good_enough(solution: Solution, rounds: Rounds, tolerance: float) -> bool:
    gap = solution.objective - solution.lower_bound
    return gap <= max(tolerance * rounds.cost_of_pairs(solution), rounds.resolution(solution))


def _permutation(flow: Flow, rows: Classes, columns: Classes, turned: bool) -> Int64[np.ndarray, " n_source"]:
    joined = flow.columns < len(columns)
    pairs = [np.repeat(side[joined], flow.amounts[joined]) for side in (flow.rows, flow.columns)]
    some, others = rows.members(pairs[0]), columns.members(pairs[1])
    permutation = np.full(len(columns.index) if turned else len(rows.index), -1)
    permutation[others if turned else some] = some if turned else others
    return permutation


def _save(solution: Solution, file: Path, seconds: float, problem: str) -> None:
    arrays = {f"flow_{name}": getattr(solution.flow, name) for name in _FLOW}
    arrays |= {"u": solution.u, "v": solution.v, **{name: getattr(solution.pairs, name) for name in _PAIRS}}
    numbers = {
        "objective": solution.objective,
        "lower_bound": solution.lower_bound,
        "rounds": solution.rounds,
        "pairs_priced": solution.pairs_priced,
        "seconds": seconds,
    }
    try:
        save_tensors(
            file,
            {name: torch.from_numpy(array) for name, array in arrays.items()},
            {"problem": problem, **{name: repr(number) for name, number in numbers.items()}},
        )
    except UserError as error:
        log.warning("%s; after an interruption this round would be made again", error)


def _resumed(file: Path | None, rounds: Rounds, problem: str) -> tuple[Solution | None, float]:
    """The solution that an interrupted run left in a file, and the seconds that it had taken."""
    if file is None or not file.is_file():
        return None, 0.0
    try:
        tensors, numbers = load_tensors(file, _TENSORS, sealed=True)
        rows, columns, amounts = (tensors[f"flow_{name}"].numpy() for name in _FLOW)
        solution = Solution(
            flow=Flow(rows, columns, amounts, rounds.capacity),
            u=tensors["u"].numpy(),
            v=tensors["v"].numpy(),
            objective=float(numbers["objective"]),
            lower_bound=float(numbers["lower_bound"]),
            pairs=CandidatePairs(
                **{name: tensors[name].numpy() for name in _PAIRS},
                n_columns=rounds.n_columns,
            ),
            rounds=int(numbers["rounds"]),
            pairs_priced=int(numbers["pairs_priced"]),
        )
        if numbers["problem"] != problem or not _is_sound(solution, rounds):
            raise UserError(f"{file} is of another problem")
    except (UserError, KeyError, ValueError) as error:
        log.warning("%s; starting again", error)
        return None, 0.0
    log.info("going on after round %d, gap %.1e", solution.rounds, solution.gap)
    return solution, float(numbers["seconds"])


def _is_sound(solution: Solution, rounds: Rounds) -> bool:
    """Whether what a file holds can be a solution of this problem."""
    pairs, flow = solution.pairs, solution.flow
    if [len(solution.u), len(solution.v)] != [rounds.n_rows, rounds.n_columns] or not _is_flow(flow, rounds):
        return False
    numbers = (solution.u, solution.v, pairs.cost, pairs.radius)
    keys = pairs.rows * rounds.n_columns + pairs.columns
    own = flow.rows * rounds.n_columns + flow.columns
    return (
        len({len(pairs.rows), len(pairs.columns), len(pairs.cost), len(pairs.radius)}) == 1
        and all(bool(np.isfinite(column).all()) for column in numbers)
        and bool((np.diff(keys) > 0).all() and np.isin(own, keys).all())
        and bool(((pairs.columns >= 0) & (pairs.columns < rounds.n_columns)).all())
        and not math.isnan(solution.lower_bound)
    )


def _is_flow(flow: Flow, rounds: Rounds) -> bool:
    """Whether every row has as many columns as it must, and no column more rows than it may."""
    if not len(flow.rows) == len(flow.columns) == len(flow.amounts) > 0 or flow.amounts.min() < 1:
        return False
    if (np.diff(flow.rows) < 0).any() or flow.columns.min() < 0 or flow.columns.max() >= rounds.n_columns:
        return False
    whole = np.array_equal(np.unique(flow.rows), np.arange(rounds.n_rows))
    return whole and np.array_equal(flow.supply, rounds.supply) and bool((flow.free >= 0).all())


def _peak_memory(vectors: FeatureVectors) -> int:
    device = vectors.factors[0].device
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Kilobytes everywhere but on a Mac.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
