"""What a pass over all pairs still proves after the duals have moved on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

_BINS = 128
# Share of a threshold that is kept: what is proven is then proven with room for rounding.
_SPARE = 0.01
# Shares of the columns that are tried as the part of the columns; the rows follow from it.
_SHARES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True, eq=False)
class Part:
    """All pairs of some rows, and all pairs of some columns.

    Attributes:
        rows: Sorted.
        columns: Sorted.
    """

    rows: Int64[np.ndarray, " some_rows"]
    columns: Int64[np.ndarray, " some_columns"]

    def share(self, n_rows: int, n_columns: int) -> float:
        """Share of all pairs that it holds."""
        return 1 - (1 - len(self.rows) / n_rows) * (1 - len(self.columns) / n_columns)


@dataclass(frozen=True, eq=False)
class Reference:
    """A pass has found all pairs with `c < u + v + threshold * lengths`.

    Attributes:
        u: Row duals.
        v: Column duals.
        threshold: Positive.
        row_lengths: Unit of the threshold, together with the columns'.
        column_lengths: Unit of the threshold, together with the rows'.
    """

    u: Float64[np.ndarray, " n_rows"]
    v: Float64[np.ndarray, " n_columns"]
    threshold: float
    row_lengths: Float64[np.ndarray, " n_rows"]
    column_lengths: Float64[np.ndarray, " n_columns"]

    @property
    def spare(self) -> float:
        """What is left of the threshold of every pair outside of the part that `unproven` returns."""
        return _SPARE * self.threshold

    def unproven(self, u: Float64[np.ndarray, " n_rows"], v: Float64[np.ndarray, " n_columns"]) -> Part:
        """A small part outside of which every pair that contradicts other duals has been found.

        A pair that was not found may contradict them only if its row's dual and its column's have
        risen by more than the threshold together; `spare` of it is to be left. The columns that have
        risen most are taken whole, as many as make the part, with the rows that then remain, smallest.
        """
        rise_u, rise_v = u - self.u, v - self.v
        # A constant may move between the sides without changing anything.
        move = (np.median(rise_u) - np.median(rise_v)) / 2
        rows = _Rise(rise_u - move, self.row_lengths)
        columns = _Rise(rise_v + move, self.column_lengths)
        order = np.argsort(-columns.most_with(rows))
        best: Part | None = None
        for share in _SHARES:
            taken = int(np.ceil(share * len(v)))
            left = order[taken:]
            unproven = rows.most_with(columns.of(left)) > self.threshold - self.spare
            part = Part(np.flatnonzero(unproven), np.sort(order[:taken]))
            if best is None or part.share(len(u), len(v)) < best.share(len(u), len(v)):
                best = part
        assert best is not None
        return best


@dataclass(frozen=True, eq=False)
class _Rise:
    """How far the duals of one side have risen, beside the lengths of its vectors."""

    rise: Float64[np.ndarray, " n"]
    lengths: Float64[np.ndarray, " n"]

    def of(self, some: Int64[np.ndarray, " some"]) -> "_Rise":
        return _Rise(self.rise[some], self.lengths[some])

    def most_with(self, others: "_Rise") -> Float64[np.ndarray, " n"]:
        """Bound on the rise of any pair with one of the others, in units of the product of their lengths.

        That of a pair is `rise_i / l_i / l_j + rise_j / l_j / l_i`. The others are put together by
        length, and each group stands for its greatest `rise_j / l_j` and its extreme lengths.
        """
        own, per_length = self.rise / self.lengths, 1 / self.lengths
        if len(others.rise) == 0:
            return np.full(len(own), -np.inf)
        order = np.argsort(others.lengths)
        starts = np.unique(np.linspace(0, len(order), _BINS, endpoint=False).astype(np.int64))
        inverse = 1 / others.lengths[order]
        greatest = np.maximum.reduceat(others.rise[order] * inverse, starts)
        longest, shortest = np.minimum.reduceat(inverse, starts), np.maximum.reduceat(inverse, starts)
        most = np.full(len(own), -np.inf)
        for rise, low, high in zip(greatest, longest, shortest, strict=True):
            np.maximum(most, np.where(own > 0, own * high, own * low) + rise * per_length, out=most)
        return most
