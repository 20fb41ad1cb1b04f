"""Exact assignment in rounds: a pass over all pairs, candidates, duals, certificate.

A round looks, in a pass (`Pricer`), for the pairs among all that there are whose reduced cost is
smallest, solves the assignment among them, and takes dual variables from the middle of those that
prove it. When the next pass finds no pair that contradicts them, the assignment is optimal among all
pairs, and they prove it. A pass brings pairs within some distance of contradicting as well: as long
as duals move less than that distance, the following passes must look only at the rows and columns
whose duals moved more.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from sae_match.matching.cost import UNIT
from sae_match.matching.result import relative_gap
from sae_match.matching.solver.assignment import CandidatePairs, SparseAssignment
from sae_match.matching.solver.centre import gamma
from sae_match.matching.solver.certificate import lower_bound
from sae_match.matching.solver.classes import Classes, Flow
from sae_match.matching.solver.pair_costs import ExactCosts
from sae_match.matching.solver.passes import Found, Passes
from sae_match.matching.solver.pricing import Hits, Pricer, Progress
from sae_match.matching.solver.starting import Prices, flow_by_length, flow_duals_by_length
from sae_match.matching.solver.transport import SparseTransport
from sae_match.matching.tuning import TUNING, Tuning


@dataclass(frozen=True, eq=False)
class Solution:
    """An assignment and what is known of it after some rounds.

    Attributes:
        flow: Columns of each row; `n_targets` and more where the row is left alone.
        objective: Its cost, with the rejection cost of each row that is left alone.
        lower_bound: No assignment's objective is below it.
        u: Row duals of the next pass.
        v: Column duals of the next pass.
        pairs: Candidate pairs.
        rounds: Passes made.
        pairs_priced: Pairs looked at in them.
    """

    flow: Flow
    objective: float
    lower_bound: float
    u: Float64[np.ndarray, " n_rows"]
    v: Float64[np.ndarray, " n_columns"]
    pairs: CandidatePairs
    rounds: int
    pairs_priced: int

    @property
    def gap(self) -> float:
        """Relative distance of objective and bound."""
        return relative_gap(self.objective, self.lower_bound)


class Rounds:
    """Rounds of one problem: every row gets a column of its own, or is left alone at a price.

    Args:
        source: Vectors of the rows, with how many features each stands for; together no more than those of the columns.
        target: Vectors of the columns likewise, on the same device.
        pricers: Make what looks at all pairs, the coarsest first; the next, finer one is made when more
            pairs are within the rounding error of contradicting than there is room for.
        rejection_cost: What it costs to leave a row alone; infinite where that is not allowed.
        prices: What a like problem has left, if there is one.
        tuning: How many pairs passes bring, and which costs are made exact.

    Attributes:
        supply: Features that each row stands for.
        capacity: Features that each column stands for.
        assigning: Told, while an assignment is looked for, the share of the rows that have found a column.
    """

    def __init__(
        self,
        source: Classes,
        target: Classes,
        *,
        pricers: Sequence[Callable[[], Pricer]],
        rejection_cost: float = math.inf,
        prices: Prices | None = None,
        tuning: Tuning = TUNING,
    ) -> None:
        self.n_rows, self.n_targets = len(source), len(target)
        self.rejection_cost = rejection_cost
        # Where rows may be left alone, each has a column of its own for that.
        self.n_columns = self.n_targets + (self.n_rows if math.isfinite(rejection_cost) else 0)
        self.supply, self._single = source.sizes, source.are_single and target.are_single
        self.capacity = np.concatenate([target.sizes, source.sizes])[: self.n_columns]
        self._exact = ExactCosts(source.vectors, target.vectors, rejection_cost)
        self._gamma = gamma(source.vectors.width)
        self._passes, self._tuning = Passes(pricers, tuning=tuning), tuning
        self._prices = None if prices is None else prices.of(self.n_rows, self.n_columns)
        self._row_lengths, lengths = self._passes.row_lengths, self._passes.column_lengths
        self._column_lengths = np.pad(lengths, (0, self.n_columns - self.n_targets), constant_values=lengths.mean())
        # Pairs of the first pass: the best within groups, for every row and column. They stay, so that no
        # dual is without something to hold it.
        self._anchors: CandidatePairs | None = None
        self.assigning: Progress = lambda _: None

    def first(self, progress: Progress) -> Solution:
        """The first pass and the assignment among what it finds."""
        u, v = self._starting_duals()
        found = self._passes.first(u, v[: self.n_targets], progress)
        pairs = self._candidates(found.hits, u, v, self._always_allowed())
        nothing = Solution(
            flow=self._starting_flow(),
            objective=math.inf,
            lower_bound=-math.inf,
            u=u,
            v=v,
            pairs=pairs,
            rounds=1,
            pairs_priced=found.priced,
        )
        return self._improved(nothing, pairs, exact=False)

    def next(self, before: Solution, progress: Progress) -> Solution:
        """One more pass: what it proves about the duals so far, and the assignment among what it finds.

        Args:
            before: The solution so far; it may come from another process.
            progress: Told the fraction of the pass that is done.
        """
        u, v = before.u, before.v
        found = self._passes.next(u, v[: self.n_targets], progress)
        all_found = found.whole and found.threshold > 0
        pairs = self._candidates(found.hits, u, v, *self._kept(before, all_found=all_found))
        doubtful = self._doubtful(pairs, u, v, before)
        # However many they are: where a pass brings nothing further, only exact costs do.
        stalled = before.rounds > 2 and self._proven(pairs, before, found) <= before.lower_bound
        exact = len(doubtful) <= self._tuning.exact_pairs * self.n_rows or stalled
        if exact:
            pairs = self._made_exact(pairs, doubtful)
        bound = self._proven(pairs, before, found)
        known = replace(
            before,
            lower_bound=max(before.lower_bound, bound),
            pairs=pairs,
            rounds=before.rounds + 1,
            pairs_priced=before.pairs_priced + found.priced,
        )
        known = replace(known, objective=self._objective(pairs, known.flow))
        if known.objective - known.lower_bound <= self.resolution(known):
            return known
        return self._improved(known, pairs, exact=exact)

    def cost_of_pairs(self, solution: Solution) -> float:
        """The objective without what rows cost that are left alone."""
        alone = int(solution.flow.amounts[solution.flow.columns >= self.n_targets].sum())
        return solution.objective - alone * self.rejection_cost if alone else solution.objective

    def resolution(self, solution: Solution) -> float:
        """Gap between objective and bound that float64 cannot resolve."""
        flow = solution.flow
        own = solution.pairs.positions(flow.rows, flow.columns)
        errors = flow.amounts * self._exact.radius(flow.rows, flow.columns, solution.pairs.cost[own])
        # A row that is left alone is held by what the nearest columns cost instead.
        left = flow.columns >= self.n_targets
        alone = flow.amounts[left] * np.abs(solution.u[flow.rows[left]])
        return 4 * math.fsum(errors) + 8 * self._gamma * math.fsum(alone)

    def _improved(self, known: Solution, pairs: CandidatePairs, *, exact: bool) -> Solution:
        """The cheapest assignment among the pairs, with duals that no pair contradicts."""
        rounding = self._tuning.known * known.objective / self.supply.sum() if math.isfinite(known.objective) else 0.0
        contradicting = np.count_nonzero(pairs.reduced(known.u, known.v) < -rounding)
        assignment = self._assignment(
            pairs, known, afresh=bool(contradicting > self.n_rows) or known.objective == math.inf
        )
        start = known.v
        while True:
            assignment.solve(pairs, self.assigning)
            assignment.stabilise(pairs, start)
            if not exact:
                break
            doubtful = self._doubtful(pairs, assignment.u, assignment.v, known)
            if len(doubtful) == 0:
                break
            pairs, start = self._made_exact(pairs, doubtful), assignment.v.copy()
        flow, u, v = assignment.flow, assignment.u, assignment.v
        objective = self._objective(pairs, flow)
        if objective > known.objective:
            flow, objective = known.flow, known.objective
        return replace(known, flow=flow, objective=objective, u=u, v=v, pairs=pairs)

    def _assignment(
        self, pairs: CandidatePairs, known: Solution, *, afresh: bool
    ) -> SparseAssignment | SparseTransport:
        """What finds the cheapest assignment among the pairs, from what is known or afresh."""
        if not self._single:
            return SparseTransport.unstarted(pairs, known.flow) if afresh else SparseTransport(known.flow, known.v)
        if afresh:
            return SparseAssignment.unstarted(pairs, self.n_rows)
        return SparseAssignment(known.flow.columns, known.v)

    def _objective(self, pairs: CandidatePairs, flow: Flow) -> float:
        """Cost of an assignment; what is not known exactly counts for the most it can be."""
        paid = pairs.positions(flow.rows, flow.columns)
        return math.fsum(flow.amounts * (pairs.cost[paid] + pairs.radius[paid]))

    def _candidates(
        self,
        hits: Hits,
        u: Float64[np.ndarray, " n_rows"],
        v: Float64[np.ndarray, " n_columns"],
        *known: CandidatePairs,
    ) -> CandidatePairs:
        """What a pass found, together with pairs that are known already."""
        units = self._row_lengths[hits.rows] * self._column_lengths[hits.columns]
        duals, costs = u[hits.rows] + v[hits.columns], hits.reduced * units
        radius = hits.radius * units + 4 * UNIT * (np.abs(u)[hits.rows] + np.abs(v)[hits.columns] + np.abs(costs))
        costs += duals
        return CandidatePairs.collected(
            np.concatenate([hits.rows, *(pairs.rows for pairs in known)]),
            np.concatenate([hits.columns, *(pairs.columns for pairs in known)]),
            cost=np.concatenate([costs, *(pairs.cost for pairs in known)]),
            radius=np.concatenate([radius, *(pairs.radius for pairs in known)]),
            n_columns=self.n_columns,
        )

    def _always_allowed(self) -> CandidatePairs:
        """A column for every row, so that there is an assignment, and being left alone where that is allowed."""
        flow = self._starting_flow()
        rows, columns = flow.rows, flow.columns
        if self.n_columns > self.n_targets:
            every = np.arange(self.n_rows)
            rows, columns = np.concatenate([rows, every]), np.concatenate([columns, self.n_targets + every])
        return CandidatePairs.collected(rows, columns, *self._exact.of(rows, columns), self.n_columns)

    def _starting_flow(self) -> Flow:
        lengths = self._row_lengths, self._column_lengths[: self.n_targets]
        return flow_by_length(*lengths, self.supply, self.capacity)

    def _starting_duals(self) -> tuple[Float64[np.ndarray, " n_rows"], Float64[np.ndarray, " n_columns"]]:
        if self._prices is not None:
            return self._prices
        lengths = self._row_lengths, self._column_lengths[: self.n_targets]
        sizes = self.supply, self.capacity[: self.n_targets]
        u, v = flow_duals_by_length(*lengths, *sizes, self._tuning.cosine)
        return u, np.pad(v, (0, self.n_columns - self.n_targets))

    def _kept(self, before: Solution, *, all_found: bool) -> list[CandidatePairs]:
        """Pairs known before; if a pass has found all that matter again, what is exact of them."""
        pairs = before.pairs
        if self._anchors is None:
            self._anchors = pairs
        if not all_found:
            return [pairs]
        keep = np.zeros(len(pairs), dtype=bool)
        keep[self._exact.among(pairs)] = True
        keep[pairs.positions(before.flow.rows, before.flow.columns)] = True
        return [pairs.chosen(keep), self._anchors]

    def _doubtful(
        self,
        pairs: CandidatePairs,
        u: Float64[np.ndarray, " n_rows"],
        v: Float64[np.ndarray, " n_columns"],
        known: Solution,
    ) -> Int64[np.ndarray, " doubtful"]:
        """Pairs that may contradict the duals and whose costs can be known better."""
        enough = (
            self._tuning.known * self.cost_of_pairs(known) / self.supply.sum()
            if math.isfinite(known.objective)
            else 0.0
        )
        doubtful = (pairs.radius > enough) & (pairs.reduced(u, v) < pairs.radius)
        if doubtful.any():
            doubtful[self._exact.among(pairs)] = False
        return np.flatnonzero(doubtful)

    def _made_exact(self, pairs: CandidatePairs, at: Int64[np.ndarray, " some"]) -> CandidatePairs:
        exact, radius = self._exact.of(pairs.rows[at], pairs.columns[at])
        off = np.abs(exact - pairs.cost[at]) - pairs.radius[at] - radius
        if len(at) and off.max() > 0:
            raise RuntimeError(f"a pass was off by {off.max():.3g} more than it had proven")
        return pairs.with_costs(at, exact, radius)

    def _proven(self, pairs: CandidatePairs, before: Solution, found: Found) -> float:
        """What the duals prove, with all pairs listed that a pass found."""
        shortest, longest = self._column_lengths.min(), self._column_lengths.max()
        unlisted = found.threshold * self._row_lengths * (shortest if found.threshold > 0 else longest)
        return lower_bound(pairs, before.flow, before.u, before.v, unlisted)
