"""Passes over a whole cost matrix in memory: exact, and for small dictionaries the fastest."""

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.matching.cost import FeatureVectors, common_centre, cost_matrix, squares_about, unit_lengths
from sae_match.matching.pricing import CrowdedError, Hits, Progress, group_size

_ROWS_PER_BLOCK = 512
_SAMPLED_ROWS = 256


class DensePricer:
    """The float64 costs of all pairs, and passes over them.

    Args:
        source: Vectors of the side that is matched whole.
        target: Vectors of the other side, on the same device.

    Attributes:
        source_lengths: See `unit_lengths`.
        target_lengths: See `unit_lengths`.
    """

    def __init__(self, source: FeatureVectors, target: FeatureVectors) -> None:
        centre = common_centre(source, target)
        units = unit_lengths(squares_about(source, centre), squares_about(target, centre))
        self.source_lengths, self.target_lengths = (side.cpu().numpy() for side in units)
        self._row_units, self._column_units = 1 / units[0], 1 / units[1]
        # Kept in the units of reduced costs: what duals take off them is then two outer products.
        self._costs = cost_matrix(source, target).mul_(self._row_units[:, None]).mul_(self._column_units)

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
        reduced = self._reduced(sample, self._on_device(u), self._on_device(v)).flatten()
        rank = min(max(1, round(pairs * len(sample))), len(reduced))
        return float(reduced.kthvalue(rank).values), 0.0

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
        some_rows = torch.arange(len(u)) if rows is None else torch.from_numpy(rows)
        some_columns = None if columns is None else self._on_device(columns)
        u_there, v_there = self._on_device(u), self._on_device(v)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        count = 0
        step = min(_ROWS_PER_BLOCK, group_size(len(u))) if minima else _ROWS_PER_BLOCK
        for start in range(0, len(some_rows), step):
            block = some_rows[start : start + step].to(self._costs.device)
            reduced = self._reduced(block, u_there, v_there)
            reduced = reduced if some_columns is None else reduced[:, some_columns]
            hit = reduced < threshold
            if minima:
                hit |= reduced <= reduced.amin(0, keepdim=True)
                for part, chosen in zip(
                    reduced.split(group_size(len(v)), dim=1), hit.split(group_size(len(v)), dim=1), strict=True
                ):
                    chosen.logical_or_(part <= part.amin(1, keepdim=True))
            i, j = hit.nonzero(as_tuple=True)
            found.append((block[i], j if some_columns is None else some_columns[j], reduced[i, j]))
            count += len(i)
            if limit is not None and count > limit:
                raise CrowdedError(f"more than {limit} pairs")
            progress(min(1.0, (start + step) / len(some_rows)))
        at_rows, at_columns, values = (torch.cat(column).cpu().numpy() for column in zip(*found, strict=True))
        return Hits(at_rows, at_columns, values, np.zeros(len(values)))

    def _reduced(
        self, rows: Int64[Tensor, " k"], u: Float64[Tensor, " n_source"], v: Float64[Tensor, " n_target"]
    ) -> Float64[Tensor, "k n_target"]:
        left = torch.stack([u[rows] * self._row_units[rows], self._row_units[rows]], dim=1)
        right = torch.stack([self._column_units, v * self._column_units])
        return self._costs[rows].addmm_(left, right, alpha=-1)

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._costs.device)
