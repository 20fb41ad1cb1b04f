"""Candidate pairs, the cheapest assignment among them, and dual variables in the middle of all that prove it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from sae_match.errors import UserError
from sae_match.matching.solver import kernels
from sae_match.matching.solver.classes import Flow
from sae_match.matching.tuning import TUNING


@dataclass(frozen=True, eq=False)
class CandidatePairs:
    """Distinct pairs in the order of their rows, then of their columns.

    Attributes:
        rows: Row of each pair.
        columns: Column of each pair.
        cost: Cost of each pair, as far as it is known.
        radius: How far, at most, the cost is off.
        n_columns: Columns that there are.
    """

    rows: Int64[np.ndarray, " pairs"]
    columns: Int64[np.ndarray, " pairs"]
    cost: Float64[np.ndarray, " pairs"]
    radius: Float64[np.ndarray, " pairs"]
    n_columns: int

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def collected(
        cls,
        rows: Int64[np.ndarray, " pairs"],
        columns: Int64[np.ndarray, " pairs"],
        cost: Float64[np.ndarray, " pairs"],
        radius: Float64[np.ndarray, " pairs"],
        n_columns: int,
    ) -> "CandidatePairs":
        """Pairs in any order; of a pair that is listed more than once, what is known best is kept."""
        keys = rows * n_columns + columns
        # Mostly runs that are in order already: a sort that merges them is quickest.
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        order = order[: kernels.keep_best(keys, order, radius)]
        return cls(rows[order], columns[order], cost[order], radius[order], n_columns)

    def chosen(self, mask: Bool[np.ndarray, " pairs"]) -> "CandidatePairs":
        """Some of the pairs."""
        return CandidatePairs(self.rows[mask], self.columns[mask], self.cost[mask], self.radius[mask], self.n_columns)

    def with_costs(
        self,
        at: Int64[np.ndarray, " some_pairs"],
        cost: Float64[np.ndarray, " some_pairs"],
        radius: Float64[np.ndarray, " some_pairs"],
    ) -> "CandidatePairs":
        """The same pairs, the costs of some of them now known better."""
        costs, radii = self.cost.copy(), self.radius.copy()
        costs[at], radii[at] = cost, radius
        return CandidatePairs(self.rows, self.columns, costs, radii, self.n_columns)

    def positions(
        self, rows: Int64[np.ndarray, " some_pairs"], columns: Int64[np.ndarray, " some_pairs"]
    ) -> Int64[np.ndarray, " some_pairs"]:
        """Where pairs that are known to be listed stand."""
        keys = self.rows * self.n_columns + self.columns
        at: Int64[np.ndarray, " some_pairs"] = np.searchsorted(keys, rows * self.n_columns + columns)
        return at

    def reduced(
        self, u: Float64[np.ndarray, " n_rows"], v: Float64[np.ndarray, " n_columns"]
    ) -> Float64[np.ndarray, " pairs"]:
        """Reduced costs under dual variables."""
        reduced: Float64[np.ndarray, " pairs"] = self.cost - u[self.rows]
        reduced -= v[self.columns]
        return reduced

    def row_starts(self, n_rows: int) -> Int64[np.ndarray, " n_rows_and_one"]:
        """Where each row's pairs begin, and the end of the last's."""
        starts: Int64[np.ndarray, " n_rows_and_one"] = np.searchsorted(self.rows, np.arange(n_rows + 1))
        return starts


class SparseAssignment:
    """An assignment among candidate pairs that is kept optimal while pairs are added and changed.

    Shortest augmenting paths (Jonker and Volgenant, 1987) on lists of pairs. What was known before is
    the start of what comes next: only rows whose column is no longer their cheapest look for another.

    Args:
        partner: Column of each row to start from, -1 where there is none.
        v: Column duals to start from; where columns outnumber rows, none is positive.

    Attributes:
        partner: Column of each row.
        u: Row duals: as large as the pairs allow.
        v: Column duals.
    """

    def __init__(self, partner: Int64[np.ndarray, " n_rows"], v: Float64[np.ndarray, " n_columns"]) -> None:
        self.partner, self.v = partner.copy(), v.copy()
        self.u = np.zeros(len(partner))

    @property
    def flow(self) -> Flow:
        """The assignment, once every row has its column."""
        return Flow.single(self.partner, len(self.v))

    @classmethod
    def unstarted(cls, pairs: CandidatePairs, n_rows: int) -> "SparseAssignment":
        """No row has a column, and every column has the highest price that one of its pairs would pay.

        Args:
            pairs: Those that will be chosen from.
            n_rows: Rows that there are.
        """
        v = np.zeros(pairs.n_columns)
        if n_rows == pairs.n_columns:
            v[:] = np.inf
            np.minimum.at(v, pairs.columns, pairs.cost)
            v[~np.isfinite(v)] = 0
        return cls(np.full(n_rows, -1), v)

    def solve(self, pairs: CandidatePairs, told: Callable[[float], None] = lambda _: None) -> None:
        """The cheapest assignment among the pairs.

        Args:
            pairs: Must allow every row a column of its own.
            told: Which share of the rows that look for a column have found one, now and then.

        Raises:
            UserError: If they do not.
        """
        n_rows = len(self.partner)
        starts = pairs.row_starts(n_rows)
        owner = self._released(pairs, starts)
        kernels.bid(starts, pairs.columns, pairs.cost, self.v, self.partner, owner, TUNING.bids * n_rows)
        waiting = int(np.count_nonzero(self.partner < 0))
        for done in range(0, waiting, TUNING.augmented_rows):
            # Nothing that Python does, heeding a signal for instance, is done while a compiled loop runs.
            told(done / waiting)
            stuck = kernels.augment(
                starts, pairs.rows, pairs.columns, pairs.cost, self.v, self.partner, owner, TUNING.augmented_rows
            )
            if stuck >= 0:
                raise UserError(f"row {stuck} has no column left among {len(pairs)} pairs")
        self.u = duals_of_rows(pairs, starts, self.v)

    def stabilise(self, pairs: CandidatePairs, start: Float64[np.ndarray, " n_columns"]) -> None:
        """Move the duals half-way between the extremes, around `start`, that prove the assignment.

        The dual stabilisation of column generation: extreme duals would jump from round to round.
        Complementary slackness leaves `v[j] - v[p(i)] <= c[i, j] - c[i, p(i)]`, a system of difference
        constraints. Its greatest solution below `start` and its least above it are shortest distances
        forwards and backwards; half-way between them the constraints hold as well, with room on both
        sides, so that pairs not yet listed are less likely to violate them. Where columns stay free,
        their dual is zero and no other is above it.
        """
        n_rows, n_columns = len(self.partner), pairs.n_columns
        starts = pairs.row_starts(n_rows)
        slack = pairs.reduced(self.u, self.v).clip(min=0)
        owner = _owners(self.partner, n_columns)
        free = owner < 0
        room = np.where(free, 0.0, -self.v)

        below = start - self.v
        first, last = (np.where(free, 0, starts[owner + shift]) for shift in (0, 1))
        last[free] = 0
        lowest = kernels.spread(first, last, pairs.columns, slack, below, free, room, True)

        above = self.v - start
        by_column = np.argsort(pairs.columns, kind="stable")
        column_starts = np.searchsorted(pairs.columns[by_column], np.arange(n_columns + 1))
        owners = self.partner[pairs.rows[by_column]]
        highest = kernels.spread(
            column_starts[:-1], column_starts[1:], owners, slack[by_column], above, free, room, False
        )
        self.v = settled_duals(self.v + ((below - lowest) + (highest - above)) / 2, free)
        self.u = duals_of_rows(pairs, starts, self.v)

    def _released(
        self, pairs: CandidatePairs, starts: Int64[np.ndarray, " n_rows_and_one"]
    ) -> Int64[np.ndarray, " n_columns"]:
        """Take their column from rows for which it is no longer the cheapest; columns left have no price."""
        rows = np.arange(len(self.partner))
        while True:
            u = duals_of_rows(pairs, starts, self.v)
            held = np.flatnonzero(self.partner >= 0)
            at = pairs.positions(rows[held], self.partner[held])
            loose = pairs.cost[at] - self.v[self.partner[held]] > u[held]
            self.partner[held[loose]] = -1
            owner = _owners(self.partner, pairs.n_columns)
            priced = (owner < 0) & (self.v < 0)
            if len(rows) == pairs.n_columns or not priced.any():
                return owner
            self.v[priced] = 0


def _owners(partner: Int64[np.ndarray, " n_rows"], n_columns: int) -> Int64[np.ndarray, " n_columns"]:
    owner = np.full(n_columns, -1)
    held = np.flatnonzero(partner >= 0)
    owner[partner[held]] = held
    return owner


def duals_of_rows(
    pairs: CandidatePairs, starts: Int64[np.ndarray, " n_rows_and_one"], v: Float64[np.ndarray, " n_columns"]
) -> Float64[np.ndarray, " n_rows"]:
    """The largest row duals that the pairs allow."""
    return np.minimum.reduceat(pairs.cost - v[pairs.columns], starts[:-1])


def settled_duals(
    v: Float64[np.ndarray, " n_columns"], free: Bool[np.ndarray, " n_columns"]
) -> Float64[np.ndarray, " n_columns"]:
    """Column duals as they must be: where a column stays free, it has none, and no other's is positive."""
    return np.where(free, 0.0, np.minimum(v, 0)) if free.any() else v
