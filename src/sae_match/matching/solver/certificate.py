"""What dual variables prove about an assignment: a bound that no assignment's cost is below."""

import math

import numpy as np
from jaxtyping import Float64

from sae_match.matching.cost import UNIT
from sae_match.matching.solver.assignment import CandidatePairs
from sae_match.matching.solver.classes import Flow

# Floating-point operations that make a number here, and some to spare.
_ROUNDED = 8 * UNIT


def lower_bound(
    pairs: CandidatePairs,
    flow: Flow,
    u: Float64[np.ndarray, " n_rows"],
    v: Float64[np.ndarray, " n_columns"],
    unlisted: Float64[np.ndarray, " n_rows"],
) -> float:
    """Value of a dual solution that is feasible for every pair, rounding included.

    Each row's dual is set so that the first of its own pairs pays the least that it may cost, and is then lowered by
    as much as another pair of the row contradicts it. Only differences between two columns' duals enter: costs far
    smaller than the duals are not lost in them.

    Args:
        pairs: All that may contradict the duals, each row's own among them.
        flow: Columns of each row.
        u: Row duals.
        v: Column duals; where columns have more features than rows, a positive one counts as zero.
        unlisted: What the reduced cost `c - u - v` of each row's pairs that are not listed is at least.
    """
    firsts = np.flatnonzero(np.diff(flow.rows, prepend=-1))
    own = pairs.positions(flow.rows[firsts], flow.columns[firsts])
    paid, prices = pairs.cost[own] - pairs.radius[own], v[flow.columns[firsts]]
    # The least that a pair may cost must not be rounded up; where a cost is exact, nothing is rounded.
    paid = np.where(pairs.radius[own] > 0, np.nextafter(paid, -np.inf), paid)
    saved = paid[pairs.rows] - (pairs.cost - pairs.radius)
    dearer = v[pairs.columns] - prices[pairs.rows]
    rounded = np.abs(paid)[pairs.rows] + np.abs(pairs.cost) + pairs.radius + np.abs(dearer)
    excess = saved + dearer + _ROUNDED * rounded
    excess[own] = 0.0
    lowered = np.maximum.reduceat(excess, pairs.row_starts(len(own))[:-1])
    slack = paid - u - prices + _ROUNDED * (np.abs(paid) + np.abs(u) + np.abs(prices))
    lowered = np.maximum(lowered, slack - unlisted)
    terms = [(flow.supply, paid), (flow.supply, -lowered)]
    # What a row pays for its columns and what they get: the same, but for columns that are not its first.
    others = np.setdiff1d(np.arange(len(flow.rows)), firsts)
    between = v[flow.columns[others]] - prices[flow.rows[others]]
    terms.append((flow.amounts[others], between))
    free = flow.free
    if free.any():
        terms += [(free, v), (flow.capacity, -np.maximum(v, 0))]
    # One sum, which is rounded once, downwards. What counts once is in it exactly.
    products = [times * each for times, each in terms]
    margin = [-_ROUNDED * np.abs(product[times > 1]) for (times, _), product in zip(terms, products, strict=True)]
    margin.append(-_ROUNDED * np.abs(products[2]))
    # No cost is below zero, and so no objective is.
    return max(0.0, _sum_rounded_down(np.concatenate([*products, *margin])))


def _sum_rounded_down(terms: Float64[np.ndarray, " terms"]) -> float:
    total = math.fsum(terms)
    return total if math.fsum([*terms, -total]) >= 0 else math.nextafter(total, -math.inf)
