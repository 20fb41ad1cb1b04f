"""Costs of listed pairs from the differences of their vectors: as exact as float64 has them.

A cost by products is off by a share of the vectors' squared lengths, one by differences only by a
share of their lengths times their distance: near copies keep their small costs. `ExactCosts` has them
for the pairs of one problem, the choice of being left alone included.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.matching.arithmetic import squared_distances
from sae_match.matching.cost import UNIT, FeatureVectors
from sae_match.matching.solver.assignment import CandidatePairs
from sae_match.matching.solver.centre import gamma


def listed_costs(
    source: FeatureVectors,
    target: FeatureVectors,
    rows: Int64[Tensor, " pairs"],
    columns: Int64[Tensor, " pairs"],
) -> Float64[np.ndarray, " pairs"]:
    """Squared distances of listed pairs, float64, from the raw parameters.

    Args:
        source: One side.
        target: The other side, on the same device.
        rows: Source feature of each pair.
        columns: Target feature of each pair.
    """
    costs = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for x, s, y, t in zip(source.parts, source.factors, target.parts, target.factors, strict=True):
        costs += squared_distances((x, s), (y, t), rows, columns)
    listed: Float64[np.ndarray, " pairs"] = costs.cpu().numpy()
    return listed


def difference_error(
    costs: Float64[np.ndarray, " pairs"], lengths: Float64[np.ndarray, " pairs"], width: int
) -> Float64[np.ndarray, " pairs"]:
    """How far, at most, costs by differences are from the truth.

    Args:
        costs: The costs.
        lengths: Sum of the lengths of each pair's vectors, about the origin.
        width: Entries of a vector.
    """
    distances = np.sqrt(costs)
    # Each vector's entries are rounded once, their differences once more, and then squares are summed.
    moved = 2 * UNIT * (lengths + distances)
    error: Float64[np.ndarray, " pairs"] = 2 * (distances + 2 * moved) * moved + 2 * gamma(width) * costs
    return error


def pair_costs(
    source: FeatureVectors, target: FeatureVectors, permutation: Int64[Tensor, " n_source"]
) -> Float64[Tensor, " n_source"]:
    """Squared distance of each pair, from the differences themselves; nan where there is no pair."""
    paired = (permutation >= 0).nonzero().flatten()
    costs = torch.full((len(source),), math.nan, dtype=torch.float64)
    costs[paired.cpu()] = torch.from_numpy(listed_costs(source, target, paired, permutation[paired]))
    return costs


@dataclass(frozen=True, eq=False)
class ExactCosts:
    """Costs as float64 has them, and how far off these are.

    Attributes:
        source: Vectors of the rows.
        target: Vectors of the columns; columns beyond them stand for being left alone.
        rejection_cost: What those columns cost.
    """

    source: FeatureVectors
    target: FeatureVectors
    rejection_cost: float

    def of(
        self, rows: Int64[np.ndarray, " pairs"], columns: Int64[np.ndarray, " pairs"]
    ) -> tuple[Float64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]:
        """Costs of pairs, and how far, at most, each is off."""
        real = np.flatnonzero(columns < len(self.target))
        costs = np.full(len(rows), self.rejection_cost)
        device = self.source.factors[0].device
        i, j = (torch.from_numpy(index[real]).to(device) for index in (rows, columns))
        costs[real] = listed_costs(self.source, self.target, i, j)
        return costs, self.radius(rows, columns, costs)

    def radius(
        self,
        rows: Int64[np.ndarray, " pairs"],
        columns: Int64[np.ndarray, " pairs"],
        costs: Float64[np.ndarray, " pairs"],
    ) -> Float64[np.ndarray, " pairs"]:
        """How far, at most, exact costs are off."""
        real = np.flatnonzero(columns < len(self.target))
        radius = np.zeros(len(rows))
        lengths = self._lengths[0][rows[real]] + self._lengths[1][columns[real]]
        radius[real] = difference_error(costs[real].clip(min=0), lengths, self.source.width)
        return radius

    def among(self, pairs: CandidatePairs) -> Int64[np.ndarray, " some"]:
        """Where listed pairs stand whose costs are exact already."""
        length = self._lengths[0].max() + self._lengths[1].max()
        most = difference_error(pairs.cost.max(keepdims=True).clip(min=0), np.array([length]), self.source.width)
        # What is further off than the least exact of exact costs need not be looked at closely.
        at = np.flatnonzero(pairs.radius <= most)
        return at[pairs.radius[at] <= self.radius(pairs.rows[at], pairs.columns[at], pairs.cost[at])]

    @cached_property
    def _lengths(self) -> tuple[Float64[np.ndarray, " n_rows"], Float64[np.ndarray, " n_targets"]]:
        source, target = (side.squares.sqrt().cpu().numpy() for side in (self.source, self.target))
        return source, target
