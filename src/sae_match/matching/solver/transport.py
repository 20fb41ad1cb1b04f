"""The cheapest assignment among candidate pairs whose rows and columns stand for several features each."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from sae_match.errors import UserError
from sae_match.matching.solver import flow_kernels, kernels
from sae_match.matching.solver.assignment import CandidatePairs, duals_of_rows, settled_duals
from sae_match.matching.solver.classes import Flow
from sae_match.matching.tuning import TUNING


class SparseTransport:
    """As `SparseAssignment`, for rows with a supply and columns with a capacity.

    Args:
        flow: To start from.
        v: Column duals to start from; where columns have more than rows, none is positive.

    Attributes:
        flow: What joins rows and columns.
        u: Row duals: as large as the pairs allow.
        v: Column duals.
    """

    def __init__(self, flow: Flow, v: Float64[np.ndarray, " n_columns"]) -> None:
        self.flow, self.v = flow, v.copy()
        self.u = np.zeros(len(flow.supply))
        self._square = int(flow.capacity.sum()) == int(flow.amounts.sum())
        self._started = True

    @classmethod
    def unstarted(cls, pairs: CandidatePairs, flow: Flow) -> "SparseTransport":
        """Nothing is joined yet; see `SparseAssignment.unstarted`.

        Args:
            pairs: Those that will be chosen from.
            flow: Any; it tells supplies and capacities.
        """
        transport = cls(flow, np.zeros(pairs.n_columns))
        transport._started = False
        if transport._square:
            transport.v[:] = np.inf
            np.minimum.at(transport.v, pairs.columns, pairs.cost)
            transport.v[~np.isfinite(transport.v)] = 0
        return transport

    def solve(self, pairs: CandidatePairs, told: Callable[[float], None] = lambda _: None) -> None:
        """The cheapest flow among the pairs; see `SparseAssignment.solve`.

        Raises:
            UserError: If the pairs do not allow every row to be joined.
        """
        supply, capacity = self.flow.supply, self.flow.capacity
        listed = _listed(pairs, len(supply))
        amounts = np.zeros(len(pairs), dtype=np.int64)
        if self._started:
            amounts[pairs.positions(self.flow.rows, self.flow.columns)] = self.flow.amounts
        left, room = self._released(pairs, listed.starts, amounts)
        joined = flow_kernels.Joined(self.v, amounts, capacity, left, room)
        flow_kernels.bid(np.argsort(supply, kind="stable"), listed, joined, TUNING.bids * len(supply))
        waiting = int(left.sum())
        while (rest := int(left.sum())) > 0:
            told(1 - rest / waiting)
            stuck = flow_kernels.augment(listed, joined, TUNING.augmented_rows)
            if stuck >= 0:
                raise UserError(f"row {stuck} has no column left among {len(pairs)} pairs")
        used = np.flatnonzero(amounts)
        self.flow = Flow(pairs.rows[used], pairs.columns[used], amounts[used], capacity)
        self.u, self._started = duals_of_rows(pairs, listed.starts, self.v), True

    def stabilise(self, pairs: CandidatePairs, start: Float64[np.ndarray, " n_columns"]) -> None:
        """Move the duals half-way between the extremes that prove the flow; see `SparseAssignment.stabilise`.

        Shortest paths lead from a column to the rows that it is joined with, and from those to their columns: a row
        may have several, and a column too.
        """
        n_columns, n_rows = pairs.n_columns, len(self.u)
        slack = pairs.reduced(self.u, self.v).clip(min=0)
        own = pairs.positions(self.flow.rows, self.flow.columns)
        nothing = np.zeros(len(own))
        columns, rows = pairs.columns, n_columns + pairs.rows
        ahead = _edges([columns[own], rows], [rows[own], columns], [nothing, slack], n_columns + n_rows)
        backwards = _edges([columns, rows[own]], [rows, columns[own]], [slack, nothing], n_columns + n_rows)
        free = self.flow.free > 0
        nowhere, never = np.full(n_rows, np.inf), np.zeros(n_rows, dtype=bool)
        room = np.concatenate([np.where(free, 0.0, -self.v), nowhere])
        is_free = np.concatenate([free, never])
        below, above = start - self.v, self.v - start
        lowest, highest = (np.concatenate([keys, nowhere]) for keys in (below, above))
        at_free = (
            kernels.spread(*ahead, lowest, is_free, room, True),
            kernels.spread(*backwards, highest, is_free, room, False),
        )
        middle = ((lowest[:n_columns] - at_free[0]) + (at_free[1] - highest[:n_columns])) / 2
        self.v = settled_duals(self.v + middle, free)
        self.u = duals_of_rows(pairs, pairs.row_starts(n_rows), self.v)

    def _released(
        self,
        pairs: CandidatePairs,
        starts: Int64[np.ndarray, " n_rows_and_one"],
        amounts: Int64[np.ndarray, " pairs"],
    ) -> tuple[Int64[np.ndarray, " n_rows"], Int64[np.ndarray, " n_columns"]]:
        """Take back what is no longer at its row's cheapest; what rows and columns then have left."""
        supply, capacity = self.flow.supply, self.flow.capacity
        while True:
            u = duals_of_rows(pairs, starts, self.v)
            own = np.flatnonzero(amounts)
            loose = own[pairs.cost[own] - self.v[pairs.columns[own]] > u[pairs.rows[own]]]
            amounts[loose] = 0
            left = supply - np.bincount(pairs.rows, amounts, len(supply)).astype(np.int64)
            room = capacity - np.bincount(pairs.columns, amounts, len(capacity)).astype(np.int64)
            priced = (room > 0) & (self.v < 0)
            if self._square or not priced.any():
                return left, room
            self.v[priced] = 0


def _listed(pairs: CandidatePairs, n_rows: int) -> flow_kernels.Listed:
    by_column = np.argsort(pairs.columns, kind="stable")
    column_starts = np.searchsorted(pairs.columns[by_column], np.arange(pairs.n_columns + 1))
    return flow_kernels.Listed(
        pairs.rows, pairs.columns, pairs.cost, pairs.row_starts(n_rows), by_column, column_starts
    )


def _edges(
    tails: list[Int64[np.ndarray, " _"]],
    heads: list[Int64[np.ndarray, " _"]],
    lengths: list[Float64[np.ndarray, " _"]],
    nodes: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Edges in the order of their tails: where each node's begin and end, their heads and lengths."""
    tail, head, length = (np.concatenate(parts) for parts in (tails, heads, lengths))
    order = np.argsort(tail, kind="stable")
    starts = np.searchsorted(tail[order], np.arange(nodes + 1))
    return starts[:-1], starts[1:], head[order], length[order]
