"""Where a first round starts: partners and duals by the lengths of the vectors alone, or duals of a like problem."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from sae_match.matching.solver.classes import Flow


@dataclass(eq=False)
class Prices:
    """Duals that a solution leaves behind, and from which the next one of a like problem starts.

    They decide how soon an assignment is found, never what is proven about it.

    Attributes:
        u: Of the rows; none before there is a solution.
        v: Of the columns.
    """

    u: Float64[np.ndarray, " n_rows"] | None = None
    v: Float64[np.ndarray, " n_columns"] | None = None

    def of(
        self, n_rows: int, n_columns: int
    ) -> tuple[Float64[np.ndarray, " n_rows"], Float64[np.ndarray, " n_columns"]] | None:
        """The duals, if they are finite and of a problem of this size."""
        if self.u is None or self.v is None or (len(self.u), len(self.v)) != (n_rows, n_columns):
            return None
        finite = np.isfinite(self.u).all() and np.isfinite(self.v).all()
        return (self.u, self.v) if finite else None


def flow_by_length(
    row_lengths: Float64[np.ndarray, " n_rows"],
    column_lengths: Float64[np.ndarray, " n_targets"],
    supply: Int64[np.ndarray, " n_rows"],
    capacity: Int64[np.ndarray, " n_columns"],
) -> Flow:
    """`partners_by_length` of the features that rows and columns stand for.

    Args:
        row_lengths: Of the rows' vectors.
        column_lengths: Of the columns' vectors.
        supply: Features that each row stands for.
        capacity: Features that each column stands for; columns without vectors stay free.
    """
    rows, columns = _repeated(supply), _repeated(capacity[: len(column_lengths)])
    partner = partners_by_length(row_lengths[rows], column_lengths[columns])
    return Flow.of_slots(rows, columns[partner], capacity)


def flow_duals_by_length(
    row_lengths: Float64[np.ndarray, " n_rows"],
    column_lengths: Float64[np.ndarray, " n_targets"],
    supply: Int64[np.ndarray, " n_rows"],
    capacity: Int64[np.ndarray, " n_targets"],
    cosine: float,
) -> tuple[Float64[np.ndarray, " n_rows"], Float64[np.ndarray, " n_targets"]]:
    """`duals_by_length` of the features that rows and columns stand for; equal lengths have equal duals."""
    rows, columns = _repeated(supply), _repeated(capacity)
    u, v = duals_by_length(row_lengths[rows], column_lengths[columns], cosine)
    return u[np.searchsorted(rows, np.arange(len(supply)))], v[np.searchsorted(columns, np.arange(len(capacity)))]


def _repeated(sizes: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " features"]:
    return np.repeat(np.arange(len(sizes)), sizes)


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
