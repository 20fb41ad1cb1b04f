"""Exact assignment of a whole cost matrix, with a bound from dual variables."""

import math
from dataclasses import dataclass

import lap
import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

_ROWS_PER_BLOCK = 1024


@dataclass(frozen=True)
class Assignment:
    """A permutation of rows to columns and what is proven about it.

    Attributes:
        permutation: Column of each row.
        lower_bound: No permutation's cost is below it, for the costs as given.
    """

    permutation: Int64[Tensor, " n"]
    lower_bound: float


def solve_dense(cost: Float64[Tensor, "n n"]) -> Assignment:
    """Cheapest permutation by Jonker-Volgenant (`lapx`), certified by its dual variables."""
    matrix = cost.cpu().contiguous().numpy()
    _, rows, columns = lap.lapjvx(matrix)
    permutation = np.empty(len(matrix), dtype=np.int64)
    permutation[rows] = columns
    bound = dual_bound(matrix, column_duals(matrix, permutation))
    return Assignment(torch.from_numpy(permutation), bound)


def column_duals(cost: Float64[np.ndarray, "n n"], permutation: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Dual variables of the columns for an optimal permutation, by Bellman-Ford.

    Optimality asks for `v[j] <= c[i, j] - c[i, p(i)] + v[p(i)]` for every row and column: `v` are the
    shortest distances in the graph whose edges, from `p(i)` to `j`, have length `c[i, j] - c[i, p(i)]`.
    For a permutation that is not optimal there is no such `v`; what comes back then is still good
    for `dual_bound`, and the bound stays below the permutation's cost.
    """
    n = len(cost)
    paid = cost[np.arange(n), permutation]
    tolerance = 1e-13 * float(np.abs(cost).max(initial=0.0))
    duals = np.zeros(n)
    for _ in range(n):
        shorter = duals.copy()
        for start in range(0, n, _ROWS_PER_BLOCK):
            rows = slice(start, start + _ROWS_PER_BLOCK)
            at_rows = duals[permutation[rows]] - paid[rows]
            np.minimum(shorter, (cost[rows] + at_rows[:, None]).min(axis=0), out=shorter)
        if (duals - shorter).max(initial=0.0) <= tolerance:
            break
        duals = shorter
    return duals


def dual_bound(cost: Float64[np.ndarray, "n n"], duals: Float64[np.ndarray, " n"]) -> float:
    """Lower bound on every permutation's cost that column duals prove, whatever they are.

    Row duals `u[i] = min_j (c[i, j] - v[j])` make `(u, v)` feasible for all pairs, and the value of
    a feasible dual solution, `sum(u) + sum(v)`, is a bound by weak duality.
    """
    row_duals = [
        (cost[start : start + _ROWS_PER_BLOCK] - duals).min(axis=1) for start in range(0, len(cost), _ROWS_PER_BLOCK)
    ]
    return math.fsum(duals) + math.fsum(np.concatenate(row_duals))
