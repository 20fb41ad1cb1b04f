"""What dual variables prove about an assignment: a bound that no assignment's cost is below."""

import math

import numpy as np
from jaxtyping import Float64, Int64

from sae_match.matching.cost import UNIT
from sae_match.matching.solver.assignment import CandidatePairs

# Floating-point operations that make a number here, and some to spare.
_ROUNDED = 8 * UNIT


def lower_bound(
    pairs: CandidatePairs,
    partner: Int64[np.ndarray, " n_rows"],
    u: Float64[np.ndarray, " n_rows"],
    v: Float64[np.ndarray, " n_columns"],
    unlisted: Float64[np.ndarray, " n_rows"],
) -> float:
    """Value of a dual solution that is feasible for every pair, rounding included.

    Each row's dual is set so that its own pair pays the least that it may cost, and is then lowered by
    as much as another pair of the row contradicts it. Only differences between two columns' duals
    enter: costs far smaller than the duals are not lost in them.

    Args:
        pairs: All that may contradict the duals, each row's own among them.
        partner: Column of each row, no two the same.
        u: Row duals.
        v: Column duals; where columns outnumber rows, a positive one counts as zero.
        unlisted: What the reduced cost `c - u - v` of each row's pairs that are not listed is at least.
    """
    own = pairs.positions(np.arange(len(partner)), partner)
    paid, prices = pairs.cost[own] - pairs.radius[own], v[partner]
    saved = paid[pairs.rows] - (pairs.cost - pairs.radius)
    dearer = v[pairs.columns] - prices[pairs.rows]
    rounded = np.abs(paid)[pairs.rows] + np.abs(pairs.cost) + pairs.radius + np.abs(dearer)
    excess = saved + dearer + _ROUNDED * rounded
    excess[own] = 0.0
    lowered = np.maximum.reduceat(excess, pairs.row_starts(len(partner))[:-1])
    slack = paid - u - prices + _ROUNDED * (np.abs(paid) + np.abs(u) + np.abs(prices))
    lowered = np.maximum(lowered, slack - unlisted)
    free = np.ones(pairs.n_columns, dtype=bool)
    free[partner] = False
    prices_of_free = [v[free], -np.maximum(v, 0)] if free.any() else []
    # One sum, which is rounded once. No cost is below zero, and so no objective is.
    return max(0.0, math.fsum(np.concatenate([paid, -lowered, *prices_of_free])))
