"""Draws that follow from what they are drawn for: the same on any number of processes, in any order."""

import hashlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uniform(seed: int, name: str, *numbers: Any) -> NDArray[np.float64]:
    """Numbers drawn uniformly from [0, 1), one for each entry of the numbers, which are broadcast.

    Args:
        seed: Of all draws.
        name: What is drawn.
        numbers: What it is drawn for, whole numbers; at least one dimension.
    """
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    state = np.asarray([int.from_bytes(digest[:8], "little")], dtype=np.uint64)
    for number in numbers:
        state = _mixed(state ^ np.asarray(number).astype(np.uint64))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def one_of(active: Bool[Tensor, "rows n"], drawn: Float64[Tensor, " rows"]) -> Int64[Tensor, " rows"]:
    """One of those that are true in each row; -1 where there is none.

    Args:
        active: What may be drawn.
        drawn: `uniform`, a number a row.
    """
    upto = active.cumsum(1)
    wanted = (drawn * upto[:, -1]).floor().long() + 1
    return torch.where(upto[:, -1] > 0, torch.searchsorted(upto, wanted[:, None])[:, 0], -1)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014): every bit of the result depends on every bit of the state."""
    with np.errstate(over="ignore"):
        state = state + _STEP
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


def in_proportion(strata: NDArray[np.int64], wanted: int, order: NDArray[np.float64]) -> NDArray[np.int64]:
    """Some of several things, so that every stratum has its share: at most one more or fewer than its proportion.

    Things are put in the order of their strata and every so manieth is taken (systematic sampling): means over the
    sample estimate those over all, without weights.

    Args:
        strata: A row a thing, a column for each way of dividing them, the most important first.
        wanted: How many; all where there are no more.
        order: Of each thing, uniform from [0, 1): their order within a stratum; the first also says where to begin.

    Returns:
        Their numbers, ascending.
    """
    count = len(strata)
    if count <= wanted:
        return np.arange(count)
    ranked = np.lexsort((order, *strata.T[::-1]))
    places = np.floor((np.arange(wanted) + order[0]) * (count / wanted)).astype(np.int64)
    return np.sort(ranked[places])


def thirds(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which third of all each value lies in, 0 to 2, the smallest first."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * 3 // max(1, len(values))
