"""Passes over a whole cost matrix in memory: exact, and for small dictionaries the fastest."""

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.matching.centre import about_centre, cost_matrix, rounding_margin, unit_lengths
from sae_match.matching.cost import UNIT, FeatureVectors
from sae_match.matching.pricing import CrowdedError, Hits, Progress, group_size

# Of a block, reduced costs should stay in a processor's cache until they have been looked at.
_ENTRIES_PER_BLOCK = {"cpu": 2**18, "cuda": 2**24}
_SAMPLED_ROWS = 256


class DensePricer:
    """The float64 costs of all pairs, and passes over them.

    Args:
        source: Vectors of the side that is matched whole.
        target: Vectors of the other side, on the same device.

    Attributes:
        source_lengths: See `unit_lengths`.
        target_lengths: See `unit_lengths`.
        pairs_wanted: See `Pricer`.
    """

    pairs_wanted = 24

    def __init__(self, source: FeatureVectors, target: FeatureVectors) -> None:
        left, right = about_centre(source, target)
        units = unit_lengths(left, right)
        self.source_lengths, self.target_lengths = (side.cpu().numpy() for side in units)
        self._row_units, self._column_units = 1 / units[0], 1 / units[1]
        # Kept in the units of reduced costs: what duals take off them is then two outer products.
        self._costs = cost_matrix(left, right).mul_(self._row_units[:, None]).mul_(self._column_units)
        reach = left.squares.sqrt() + right.squares.sqrt().max()
        self._cost_error = rounding_margin(left, right) + 4 * UNIT * reach.square()

    @staticmethod
    def bytes(n_source: int, n_target: int, width: int) -> int:
        """Memory that a problem of this size takes: the costs, and the vectors they are made of."""
        return 8 * (n_source * n_target + 2 * (n_source + n_target) * width)

    def sampled_quantile(
        self, u: Float64[np.ndarray, " n_source"], v: Float64[np.ndarray, " n_target"], pairs: int
    ) -> tuple[float, float]:
        """See `Pricer`."""
        generator = torch.Generator().manual_seed(0)
        sample = torch.randperm(len(u), generator=generator)[:_SAMPLED_ROWS].to(self._costs.device)
        left, right = self._taken_off(u, v, 0.0)
        reduced = self._costs[sample].addmm_(left[sample], right, alpha=-1).flatten()
        rank = min(max(1, round(pairs * len(sample))), len(reduced))
        margin = self._margin(u, v, 0.0) * self._row_units * self._column_units.max()
        return float(reduced.kthvalue(rank).values), float(margin.max())

    def scan(
        self,
        u: Float64[np.ndarray, " n_source"],
        v: Float64[np.ndarray, " n_target"],
        threshold: float,
        *,
        rows: Int64[np.ndarray, " some_rows"] | None = None,
        columns: Int64[np.ndarray, " some_columns"] | None = None,
        minima: bool = False,
        limit: int | None = None,
        progress: Progress = lambda _: None,
    ) -> Hits:
        """See `Pricer`."""
        # A dual that is larger by what costs may be off lets no pair be missed.
        margin = self._margin(u, v, threshold)
        left, right = self._taken_off(u + margin.cpu().numpy(), v, threshold)
        costs, some_rows, some_columns = self._costs, None, None
        if columns is not None:
            some_columns = torch.from_numpy(columns).to(costs.device)
            costs, right = costs[:, some_columns], right[:, some_columns]
        if rows is not None:
            some_rows = torch.from_numpy(rows).to(costs.device)
            costs, left = costs[some_rows], left[some_rows]
        n_rows, n_columns = costs.shape
        step = group_size(n_rows) if minima else max(1, _ENTRIES_PER_BLOCK[costs.device.type] // n_columns)
        block = torch.empty(min(step, n_rows), n_columns, dtype=torch.float64, device=costs.device)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        count = 0
        for start in range(0, n_rows, step):
            size = min(step, n_rows - start)
            below = torch.addmm(
                costs[start : start + size], left[start : start + size], right, alpha=-1, out=block[:size]
            )
            i, j = (_below_zero_or_least(below) if minima else torch.signbit(below)).nonzero(as_tuple=True)
            found.append((i + start, j, below[i, j]))
            count += len(i)
            if limit is not None and count > limit:
                raise CrowdedError(f"more than {limit} pairs")
            progress((start + size) / n_rows)
        i, j, values = (torch.cat(column) for column in zip(*found, strict=True))
        i = i if some_rows is None else some_rows[i]
        j = j if some_columns is None else some_columns[j]
        radius = margin[i] * self._row_units[i] * self._column_units[j]
        reduced = values + threshold + radius
        return Hits(*(column.cpu().numpy() for column in (i, j, reduced, radius)))

    def _taken_off(
        self, u: Float64[np.ndarray, " n_source"], v: Float64[np.ndarray, " n_target"], threshold: float
    ) -> tuple[Float64[Tensor, "n_source 3"], Float64[Tensor, "3 n_target"]]:
        """Factors of what is taken off the costs: both duals, in the pair's unit, and the threshold."""
        ones = torch.ones_like(self._row_units), torch.ones_like(self._column_units)
        own, other = (torch.from_numpy(side).to(self._costs.device) for side in (u, v))
        left = torch.stack([own * self._row_units, self._row_units, ones[0]], dim=1)
        right = torch.stack([self._column_units, other * self._column_units, threshold * ones[1]])
        return left, right

    def _margin(
        self, u: Float64[np.ndarray, " n_source"], v: Float64[np.ndarray, " n_target"], threshold: float
    ) -> Float64[Tensor, " n_source"]:
        """How far, at most, reduced costs of each source feature are off, in units of costs."""
        duals = torch.from_numpy(np.abs(u) + np.abs(v).max()).to(self._costs.device)
        thresholds = abs(threshold) / (self._row_units * self._column_units.min())
        return self._cost_error + 16 * UNIT * (duals + thresholds)


def _below_zero_or_least(block: Float64[Tensor, "rows columns"]) -> Tensor:
    """Negative entries, each column's least, and each row's least within each group of columns."""
    chosen = torch.signbit(block)
    chosen |= block <= block.amin(0, keepdim=True)
    size = group_size(block.shape[1])
    for part, marks in zip(block.split(size, dim=1), chosen.split(size, dim=1), strict=True):
        marks.logical_or_(part <= part.amin(1, keepdim=True))
    return chosen
