"""The pairs that an assignment is chosen from: sorted lists, not a matrix."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from sae_match.matching import kernels


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
