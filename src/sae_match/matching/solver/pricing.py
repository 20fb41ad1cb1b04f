"""What a solution asks about all pairs, which have a small reduced cost; and the plain answer.

`DensePricer` holds the whole cost matrix in float64. `sparse` answers in blocks of low precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.matching.cost import UNIT, FeatureVectors
from sae_match.matching.solver.centre import about_centre, cost_matrix, rounding_margin, unit_lengths
from sae_match.matching.tuning import TUNING, Tuning

Progress = Callable[[float], None]
"""Told the fraction of a pass that is done."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Pairs that a pass found below its threshold.

    Attributes:
        rows: Source feature of each.
        columns: Target feature of each.
        reduced: Reduced costs as computed, in units of the product of the two lengths.
        radius: How far, at most, each of them is from the truth.
    """

    rows: Int64[np.ndarray, " hits"]
    columns: Int64[np.ndarray, " hits"]
    reduced: Float64[np.ndarray, " hits"]
    radius: Float64[np.ndarray, " hits"]

    @classmethod
    def joined(cls, several: "list[Hits]") -> "Hits":
        """Hits of several passes over different pairs."""
        return cls(
            *(
                np.concatenate([np.empty(0, dtype=kind), *(getattr(hits, name) for hits in several)])
                for name, kind in (("rows", np.int64), ("columns", np.int64), ("reduced", float), ("radius", float))
            )
        )


class CrowdedError(Exception):
    """More pairs lie below a threshold than there is room for."""


class Pricer(Protocol):
    """Knows the cost of every pair well enough to find all with a small reduced cost `c - u - v`.

    Reduced costs are measured in units of the product of a pair's lengths: what is much for two
    short vectors is little for two long ones.

    Attributes:
        source_lengths: Unit of each source feature.
        target_lengths: Unit of each target feature.
        pairs_wanted: Pairs a source feature that a pass after the first should bring, so that few
            passes are needed: the more, the more they cost.
    """

    pairs_wanted: int

    source_lengths: Float64[np.ndarray, " n_source"]
    target_lengths: Float64[np.ndarray, " n_target"]

    def sampled_quantile(
        self, u: Float64[np.ndarray, " n_source"], v: Float64[np.ndarray, " n_target"], pairs: int
    ) -> tuple[float, float]:
        """Where the smallest `pairs` reduced costs a source feature end, judged by a sample.

        Returns:
            That reduced cost, and how far, at most, a reduced cost near it is from the truth.
        """
        ...

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
        """Every pair whose reduced cost is below a threshold.

        Some pairs above the threshold may be found as well; none below it is missed, rounding
        included.

        Args:
            u: Dual variables of the source features.
            v: Dual variables of the target features.
            threshold: In units of the product of a pair's lengths.
            rows: Source features to look at; all by default.
            columns: Target features to look at; all by default.
            minima: Also find, for each feature, its best pair within each of some groups of the
                other side.
            limit: Most pairs that may be found.
            progress: Told after each block.

        Raises:
            CrowdedError: If more than `limit` pairs are found.
        """
        ...


def group_size(n: int) -> int:
    """Features of each of the groups of a side within which a first pass finds the best pairs of the other."""
    return max(1, -(-n // TUNING.groups))


class DensePricer:
    """The float64 costs of all pairs, and passes over them.

    Args:
        source: Vectors of the side that is matched whole.
        target: Vectors of the other side, on the same device.
        tuning: Its sizes.

    Attributes:
        source_lengths: See `unit_lengths`.
        target_lengths: See `unit_lengths`.
        pairs_wanted: See `Pricer`.
    """

    def __init__(self, source: FeatureVectors, target: FeatureVectors, *, tuning: Tuning = TUNING) -> None:
        self.pairs_wanted, self._tuning = tuning.dense_pairs, tuning
        left, right = about_centre(source, target)
        units = unit_lengths(left, right)
        self.source_lengths, self.target_lengths = (side.cpu().numpy() for side in units)
        self._row_units, self._column_units = 1 / units[0], 1 / units[1]
        # Kept in the units of reduced costs: what duals take off them is then two outer products.
        self._costs = cost_matrix(left, right).mul_(self._row_units[:, None]).mul_(self._column_units)
        reach = left.squares.sqrt() + right.squares.sqrt().max()
        self._cost_error = rounding_margin(left, right) + 4 * UNIT * reach.square()

    def sampled_quantile(
        self, u: Float64[np.ndarray, " n_source"], v: Float64[np.ndarray, " n_target"], pairs: int
    ) -> tuple[float, float]:
        """See `Pricer`."""
        generator = torch.Generator().manual_seed(0)
        sample = torch.randperm(len(u), generator=generator)[: self._tuning.sampled_rows].to(self._costs.device)
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
        step = group_size(n_rows) if minima else max(1, self._tuning.dense_entries.on(costs.device) // n_columns)
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
