"""Loops that are compiled: over raw parameters, and over listed pairs for shortest paths.

Nothing here allocates per pair or checks its arguments; `arithmetic`, `candidates` and `assignment`
are what calls it. Pairs are in the order of their rows: those of row `i` are `starts[i]` to `starts[i + 1]`.
"""

from typing import TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.int64] | NDArray[np.float64] | NDArray[np.bool_]"

_NOWHERE = -1


@numba.njit(cache=True)
def sift_up(heap: Array, place: Array, key: Array, at: int) -> None:
    """Move an entry of a binary heap of columns up to where its key belongs."""
    column = heap[at]
    while at > 0:
        parent = (at - 1) >> 1
        if key[heap[parent]] <= key[column]:
            break
        heap[at] = heap[parent]
        place[heap[at]] = at
        at = parent
    heap[at] = column
    place[column] = at


@numba.njit(cache=True)
def pop_least(heap: Array, place: Array, key: Array, size: int) -> int:
    """Remove and return the column with the least key; the heap has one entry less then."""
    least = int(heap[0])
    place[least] = _NOWHERE
    size -= 1
    if size == 0:
        return least
    column = heap[size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and key[heap[child + 1]] < key[heap[child]]:
            child += 1
        if key[heap[child]] >= key[column]:
            break
        heap[at] = heap[child]
        place[heap[at]] = at
        at = child
    heap[at] = column
    place[column] = at
    return least


@numba.njit(cache=True)
def two_cheapest(row: int, starts: Array, columns: Array, cost: Array, v: Array) -> tuple[int, float, float]:
    """A row's cheapest column at the columns' prices, its cost there, and that of the second cheapest."""
    best = np.inf
    second = np.inf
    column = _NOWHERE
    for e in range(starts[row], starts[row + 1]):
        net = cost[e] - v[columns[e]]
        if net < best:
            second = best
            best = net
            column = int(columns[e])
        elif net < second:
            second = net
    return column, best, second


@numba.njit(cache=True)
def bid(starts: Array, columns: Array, cost: Array, v: Array, partner: Array, owner: Array, most_bids: int) -> None:
    """Let rows without a column take their cheapest, from its owner if need be.

    A column's dual falls by what its new owner saves over its second choice, so that reduced costs
    stay at least zero (augmenting row reduction of Jonker and Volgenant, 1987). Rows that would save
    nothing are left without.
    """
    bids = 0
    for first in np.flatnonzero(partner < 0):
        row = int(first)
        while row >= 0 and bids < most_bids:
            bids += 1
            column, best, second = two_cheapest(row, starts, columns, cost, v)
            loser = owner[column]
            if loser >= 0 and not second > best:
                break
            if second < np.inf:
                v[column] -= second - best
            partner[row] = column
            owner[column] = row
            if loser >= 0:
                partner[loser] = _NOWHERE
            row = int(loser)


@numba.njit(cache=True)
def relax(
    row: int,
    base: float,
    starts: Array,
    columns: Array,
    cost: Array,
    v: Array,
    key: Array,
    place: Array,
    heap: Array,
    size: int,
    through: Array,
    reached: Array,
    n_reached: int,
) -> tuple[int, int]:
    """Shorten the paths to a row's columns by way of it; returns the sizes of the heap and of `reached`."""
    for e in range(starts[row], starts[row + 1]):
        column = columns[e]
        length = base + cost[e] - v[column]
        if length >= key[column]:
            continue
        if key[column] == np.inf:
            reached[n_reached] = column
            n_reached += 1
            heap[size] = column
            place[column] = size
            size += 1
        elif place[column] == _NOWHERE:
            continue
        key[column] = length
        through[column] = row
        sift_up(heap, place, key, place[column])
    return size, n_reached


@numba.njit(cache=True)
def hand_over(start: int, sink: int, through: Array, partner: Array, owner: Array) -> None:
    """Give each row on the path from a row to a free column the column that it was reached by."""
    column = sink
    while True:
        row = through[column]
        before = partner[row]
        partner[row] = column
        owner[column] = row
        if row == start:
            return
        column = before


@numba.njit(cache=True)
def augment(starts: Array, columns: Array, cost: Array, v: Array, partner: Array, owner: Array) -> int:
    """Give every row without a column one, along shortest paths (Dijkstra), the duals following.

    A row's own column must be its cheapest under `v`. Returns the first row for which there is no
    column to be had, or -1.
    """
    n_columns = len(v)
    key = np.full(n_columns, np.inf)
    place = np.full(n_columns, _NOWHERE)
    heap = np.empty(n_columns, np.int64)
    through = np.empty(n_columns, np.int64)
    reached = np.empty(n_columns, np.int64)
    settled = np.empty(n_columns, np.int64)
    for row_without in np.flatnonzero(partner < 0):
        start = int(row_without)
        n_settled = 0
        size, n_reached = relax(start, 0.0, starts, columns, cost, v, key, place, heap, 0, through, reached, 0)
        while True:
            if size == 0:
                return start
            column = pop_least(heap, place, key, size)
            size -= 1
            if owner[column] < 0:
                break
            settled[n_settled] = column
            n_settled += 1
            row = int(owner[column])
            _, own, _ = two_cheapest(row, starts, columns, cost, v)
            size, n_reached = relax(
                row, key[column] - own, starts, columns, cost, v, key, place, heap, size, through, reached, n_reached
            )
        for k in range(n_settled):
            v[settled[k]] += key[settled[k]] - key[column]
        hand_over(start, column, through, partner, owner)
        for k in range(n_reached):
            key[reached[k]] = np.inf
            place[reached[k]] = _NOWHERE
    return -1


@numba.njit(cache=True)
def spread(first: Array, last: Array, node: Array, length: Array, key: Array, free: Array, level: float) -> float:
    """Lower keys to the least sum of a key and a shortest path from it (Dijkstra, all nodes at once).

    Node `k` has edges `first[k]` to `last[k]`. Nodes that are free can be left for every other node at
    no cost. Returns the least of `level` and the free nodes' keys.
    """
    n = len(key)
    heap = np.argsort(key)
    place = np.empty(n, np.int64)
    for at in range(n):
        place[heap[at]] = at
    size = n
    while size > 0:
        column = pop_least(heap, place, key, size)
        size -= 1
        if key[column] >= level:
            key[column] = level
            while size > 0:
                size -= 1
                key[heap[size]] = level
            break
        if free[column]:
            level = key[column]
        for e in range(first[column], last[column]):
            other = node[e]
            reach = key[column] + length[e]
            if reach < key[other] and place[other] != _NOWHERE:
                key[other] = reach
                sift_up(heap, place, key, place[other])
    return level


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def add_distances(
    x: Array, x_factor: Array, y: Array, y_factor: Array, rows: Array, columns: Array, distances: Array
) -> None:
    """Add to each pair's entry the squared distance of its rows of two matrices, each times its factor."""
    for pair in range(len(rows)):
        i = rows[pair]
        j = columns[pair]
        left = x_factor[i]
        right = y_factor[j]
        total = 0.0
        for k in range(x.shape[1]):
            difference = x[i, k] * left - y[j, k] * right
            total += difference * difference
        distances[pair] += total


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def add_squares(x: Array, factor: Array, centre: Array, squares: Array) -> None:
    """Add to each row's entry its squared distance, times its factor, from a point."""
    for i in range(x.shape[0]):
        own = factor[i]
        total = 0.0
        for k in range(x.shape[1]):
            difference = x[i, k] * own - centre[k]
            total += difference * difference
        squares[i] += total


@numba.njit(cache=True, nogil=True)
def centre_rows(x: Array, factor: Array, centre: Array, lengths: Array, out: Array) -> None:
    """Write each row, times its factor, measured from a point, and divided by a length."""
    for i in range(x.shape[0]):
        own = factor[i]
        inverse = 1 / lengths[i]
        for k in range(x.shape[1]):
            out[i, k] = (x[i, k] * own - centre[k]) * inverse


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def round_rows(
    x: Array,
    factor: Array,
    centre: Array,
    lengths: Array,
    scale: float,
    row: Array,
    bits: Array,
    out: Array,
    moved: Array,
) -> None:
    """What `centre_rows` writes, rounded to bfloat16 and times a power of two, as the bits of it.

    To each entry of `moved` is added how far, squared, rounding has moved the row. `row` is float32
    and as long as a row; `bits` are its bits.
    """
    for i in range(x.shape[0]):
        own = factor[i]
        inverse = 1 / lengths[i]
        for k in range(x.shape[1]):
            row[k] = (x[i, k] * own - centre[k]) * inverse
        for k in range(x.shape[1]):
            bits[k] = (bits[k] + 0x7FFF + ((bits[k] >> 16) & 1)) & -0x10000
        total = 0.0
        for k in range(x.shape[1]):
            difference = (x[i, k] * own - centre[k]) * inverse - row[k]
            total += difference * difference
        moved[i] += total
        for k in range(x.shape[1]):
            row[k] *= scale
        for k in range(x.shape[1]):
            out[i, k] = bits[k] >> 16


@numba.njit(cache=True)
def keep_best(keys: Array, order: Array, radius: Array) -> int:
    """Of neighbours with the same key, move the one with the least radius to the front of `order`.

    Returns how many are left; `order` begins with them.
    """
    kept = 0
    for at in range(len(keys)):
        if at > 0 and keys[at] == keys[at - 1]:
            if radius[order[at]] < radius[order[kept - 1]]:
                order[kept - 1] = order[at]
            continue
        order[kept] = order[at]
        kept += 1
    return kept
