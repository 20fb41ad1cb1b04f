"""Exact costs of the pairs of one problem, the choice of being left alone included."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64, Int64

from sae_match.matching.candidates import CandidatePairs
from sae_match.matching.cost import FeatureVectors
from sae_match.matching.pair_costs import difference_error, listed_costs


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
