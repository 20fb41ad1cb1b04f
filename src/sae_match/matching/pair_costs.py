"""Costs of listed pairs from the differences of their vectors: as exact as float64 has them.

A cost by products is off by a share of the vectors' squared lengths, one by differences only by a
share of their lengths times their distance: near copies keep their small costs.
"""

import math

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from sae_match.matching import kernels
from sae_match.matching.centre import gamma
from sae_match.matching.cost import UNIT, FeatureVectors

_PAIRS_PER_BLOCK = 8192
_COMPILED_DTYPES = {torch.float32, torch.float64}


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
    costs = np.zeros(len(rows))
    for x, s, y, t in zip(source.parts, source.factors, target.parts, target.factors, strict=True):
        if x.device.type == "cpu" and {x.dtype, y.dtype} <= _COMPILED_DTYPES:
            left, right = (x.numpy(), s.numpy()), (y.numpy(), t.numpy())
            kernels.add_distances(*left, *right, rows.numpy(), columns.numpy(), costs)
        else:
            costs += _distances(x, s, y, t, rows, columns).cpu().numpy()
    return costs


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


def _distances(
    x: Tensor,
    x_factors: Float64[Tensor, " n_source"],
    y: Tensor,
    y_factors: Float64[Tensor, " n_target"],
    rows: Int64[Tensor, " pairs"],
    columns: Int64[Tensor, " pairs"],
) -> Float64[Tensor, " pairs"]:
    distances = torch.zeros(len(rows), dtype=torch.float64, device=x.device)
    step = max(1, _PAIRS_PER_BLOCK if x.is_cuda else _PAIRS_PER_BLOCK // 256)
    for start in range(0, len(rows), step):
        i, j = rows[start : start + step], columns[start : start + step]
        difference = x[i].double() * x_factors[i, None] - y[j].double() * y_factors[j, None]
        distances[start : start + step] = difference.square_().sum(1)
    return distances
