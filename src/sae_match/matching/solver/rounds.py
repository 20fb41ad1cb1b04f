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

from sae_match.matching.cost import UNIT, FeatureVectors
from sae_match.matching.result import relative_gap
from sae_match.matching.solver.assignment import CandidatePairs, SparseAssignment
from sae_match.matching.solver.centre import gamma
from sae_match.matching.solver.certificate import lower_bound
from sae_match.matching.solver.pair_costs import ExactCosts
from sae_match.matching.solver.passes import Found, Passes
from sae_match.matching.solver.pricing import Hits, Pricer, Progress
from sae_match.matching.tuning import TUNING, Tuning


@dataclass(frozen=True, eq=False)
class Solution:
    """An assignment and what is known of it after some rounds.

    Attributes:
        partner: Column of each row; `n_targets` and more where the row is left alone.
        objective: Its cost, with the rejection cost of each row that is left alone.
        lower_bound: No assignment's objective is below it.
        u: Row duals of the next pass.
        v: Column duals of the next pass.
        pairs: Candidate pairs.
        rounds: Passes made.
        pairs_priced: Pairs looked at in them.
    """

    partner: Int64[np.ndarray, " n_rows"]
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
        source: Vectors of the rows; no more than of the columns.
        target: Vectors of the columns, on the same device.
        pricers: Make what looks at all pairs, the coarsest first; the next, finer one is made when more
            pairs are within the rounding error of contradicting than there is room for.
        rejection_cost: What it costs to leave a row alone; infinite where that is not allowed.
        tuning: How many pairs passes bring, and which costs are made exact.

    Attributes:
        assigning: Told, while an assignment is looked for, the share of the rows that have found a column.
    """

    def __init__(
        self,
        source: FeatureVectors,
        target: FeatureVectors,
        *,
        pricers: Sequence[Callable[[], Pricer]],
        rejection_cost: float = math.inf,
        tuning: Tuning = TUNING,
    ) -> None:
        self.n_rows, self.n_targets = len(source), len(target)
        self.rejection_cost = rejection_cost
        # Where rows may be left alone, each has a column of its own for that.
        self.n_columns = self.n_targets + (self.n_rows if math.isfinite(rejection_cost) else 0)
        self._exact, self._gamma = ExactCosts(source, target, rejection_cost), gamma(source.width)
        self._passes, self._tuning = Passes(pricers, tuning=tuning), tuning
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
            partner=self._starting_partners(),
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
        known = replace(known, objective=self._objective(pairs, known.partner))
        if known.objective - known.lower_bound <= self.resolution(known):
            return known
        return self._improved(known, pairs, exact=exact)

    def cost_of_pairs(self, solution: Solution) -> float:
        """The objective without what rows cost that are left alone."""
        alone = int(np.count_nonzero(solution.partner >= self.n_targets))
        return solution.objective - alone * self.rejection_cost if alone else solution.objective

    def resolution(self, solution: Solution) -> float:
        """Gap between objective and bound that float64 cannot resolve."""
        own = solution.pairs.positions(np.arange(self.n_rows), solution.partner)
        errors = self._exact.radius(solution.pairs.rows[own], solution.partner, solution.pairs.cost[own])
        # A row that is left alone is held by what the nearest columns cost instead.
        alone = np.abs(solution.u[solution.partner >= self.n_targets])
        return 4 * math.fsum(errors) + 8 * self._gamma * math.fsum(alone)

    def _improved(self, known: Solution, pairs: CandidatePairs, *, exact: bool) -> Solution:
        """The cheapest assignment among the pairs, with duals that no pair contradicts."""
        rounding = self._tuning.known * known.objective / self.n_rows if math.isfinite(known.objective) else 0.0
        contradicting = np.count_nonzero(pairs.reduced(known.u, known.v) < -rounding)
        if contradicting > self.n_rows or known.objective == math.inf:
            assignment = SparseAssignment.unstarted(pairs, self.n_rows)
        else:
            assignment = SparseAssignment(known.partner, known.v)
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
        partner, u, v = assignment.partner, assignment.u, assignment.v
        objective = self._objective(pairs, partner)
        if objective > known.objective:
            partner, objective = known.partner, known.objective
        return replace(known, partner=partner, objective=objective, u=u, v=v, pairs=pairs)

    def _objective(self, pairs: CandidatePairs, partner: Int64[np.ndarray, " n_rows"]) -> float:
        """Cost of an assignment; what is not known exactly counts for the most it can be."""
        paid = pairs.positions(np.arange(self.n_rows), partner)
        return math.fsum(pairs.cost[paid] + pairs.radius[paid])

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
        rows, columns = np.arange(self.n_rows), self._starting_partners()
        if self.n_columns > self.n_targets:
            rows, columns = np.tile(rows, 2), np.concatenate([columns, self.n_targets + rows])
        return CandidatePairs.collected(rows, columns, *self._exact.of(rows, columns), self.n_columns)

    def _starting_partners(self) -> Int64[np.ndarray, " n_rows"]:
        return partners_by_length(self._row_lengths, self._column_lengths[: self.n_targets])

    def _starting_duals(self) -> tuple[Float64[np.ndarray, " n_rows"], Float64[np.ndarray, " n_columns"]]:
        u, v = duals_by_length(self._row_lengths, self._column_lengths[: self.n_targets], self._tuning.cosine)
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
        keep[pairs.positions(np.arange(self.n_rows), before.partner)] = True
        return [pairs.chosen(keep), self._anchors]

    def _doubtful(
        self,
        pairs: CandidatePairs,
        u: Float64[np.ndarray, " n_rows"],
        v: Float64[np.ndarray, " n_columns"],
        known: Solution,
    ) -> Int64[np.ndarray, " doubtful"]:
        """Pairs that may contradict the duals and whose costs can be known better."""
        enough = self._tuning.known * self.cost_of_pairs(known) / self.n_rows if math.isfinite(known.objective) else 0.0
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
        return lower_bound(pairs, before.partner, before.u, before.v, unlisted)


def partners_by_length(
    row_lengths: Float64[np.ndarray, " n_rows"], column_lengths: Float64[np.ndarray, " n_columns"]
) -> Int64[np.ndarray, " n_rows"]:
    """The shortest row gets the shortest column, and so on; where columns are left over, evenly spread."""
    n_rows, n_columns = len(row_lengths), len(column_lengths)
    partner = np.empty(n_rows, dtype=np.int64)
    partner[np.argsort(row_lengths)] = np.argsort(column_lengths)[np.arange(n_rows) * n_columns // n_rows]
    return partner


def duals_by_length(
    row_lengths: Float64[np.ndarray, " n_rows"], column_lengths: Float64[np.ndarray, " n_columns"], cosine: float
) -> tuple[Float64[np.ndarray, " n_rows"], Float64[np.ndarray, " n_columns"]]:
    """Duals that would be optimal if all pairs had the same cosine.

    Costs `x² + y² - 2 cos x y` are then matched by length, as in one-dimensional optimal transport:
    the potential of a length `x` that goes to `T(x)` has the derivative `2 x - 2 cos T(x)`. Where
    columns are left over, each row takes the length that suits it, and no column has a price.
    """
    if len(row_lengths) < len(column_lengths):
        return (1 - cosine**2) * np.square(row_lengths), np.zeros(len(column_lengths))
    return _potential(row_lengths, column_lengths, cosine), _potential(column_lengths, row_lengths, cosine)


def _potential(
    lengths: Float64[np.ndarray, " n"], others: Float64[np.ndarray, " n"], cosine: float
) -> Float64[np.ndarray, " n"]:
    order = np.argsort(lengths)
    x, t = lengths[order], np.sort(others)
    steps = np.diff(x) * (x[1:] + x[:-1] - cosine * (t[1:] + t[:-1]))
    # Of the two potentials together, the shortest pair pays its own cost.
    start = x[0] ** 2 - cosine * x[0] * t[0]
    potential = np.empty_like(lengths)
    potential[order] = start + np.concatenate([[0.0], np.cumsum(steps)])
    return potential
