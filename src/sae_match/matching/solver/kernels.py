"""Loops over listed pairs that are compiled: shortest paths, and what is made of them.

Nothing here allocates per pair or checks its arguments; `assignment` and `candidates` are what calls
it. Pairs are in the order of their rows: those of row `i` are `starts[i]` to `starts[i + 1]`.
"""

import numba
import numpy as np

from sae_match.matching.vector_kernels import Array

_NOWHERE = -1


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def two_cheapest(row: int, starts: Array, columns: Array, cost: Array, v: Array) -> tuple[int, float, float]:
    """A row's cheapest pair at the columns' prices, its cost there, and that of the second cheapest."""
    best = np.inf
    second = np.inf
    pair = _NOWHERE
    for e in range(starts[row], starts[row + 1]):
        net = cost[e] - v[columns[e]]
        if net < best:
            second = best
            best = net
            pair = e
        elif net < second:
            second = net
    return pair, best, second


@numba.njit(cache=True, nogil=True)
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
            pair, best, second = two_cheapest(row, starts, columns, cost, v)
            column = columns[pair]
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


@numba.njit(cache=True, nogil=True)
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
    owner: Array,
    bound: float,
) -> tuple[int, int, float]:
    """Shorten the paths to a row's columns by way of it.

    Of each column `through` remembers the pair by which the path reaches it. Columns that are no nearer than
    `bound`, the nearest free one so far, are left out. Returns the sizes of the heap and of `reached`, and the bound.
    """
    for e in range(starts[row], starts[row + 1]):
        column = columns[e]
        length = base + cost[e] - v[column]
        if length >= key[column] or length >= bound:
            continue
        if owner[column] < 0:
            bound = length
        if key[column] == np.inf:
            reached[n_reached] = column
            n_reached += 1
            heap[size] = column
            place[column] = size
            size += 1
        elif place[column] == _NOWHERE:
            continue
        key[column] = length
        through[column] = e
        sift_up(heap, place, key, place[column])
    return size, n_reached, bound


@numba.njit(cache=True, nogil=True)
def hand_over(start: int, sink: int, through: Array, rows: Array, partner: Array, owner: Array) -> None:
    """Give each row on the path from a row to a free column the column that it was reached by."""
    column = sink
    while True:
        row = rows[through[column]]
        before = partner[row]
        partner[row] = column
        owner[column] = row
        if row == start:
            return
        column = before


@numba.njit(cache=True, nogil=True)
def augment(
    starts: Array, rows: Array, columns: Array, cost: Array, v: Array, partner: Array, owner: Array, most: int
) -> int:
    """Give rows without a column one, `most` of them, along shortest paths (Dijkstra), the duals following.

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
    for row_without in np.flatnonzero(partner < 0)[:most]:
        start = int(row_without)
        n_settled = 0
        size, n_reached, bound = relax(
            start, 0.0, starts, columns, cost, v, key, place, heap, 0, through, reached, 0, owner, np.inf
        )
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
            base = key[column] - own
            size, n_reached, bound = relax(
                row, base, starts, columns, cost, v, key, place, heap, size, through, reached, n_reached, owner, bound
            )
        for k in range(n_settled):
            v[settled[k]] += key[settled[k]] - key[column]
        hand_over(start, column, through, rows, partner, owner)
        for k in range(n_reached):
            key[reached[k]] = np.inf
            place[reached[k]] = _NOWHERE
    return -1


@numba.njit(cache=True, nogil=True)
def lower(column: int, reach: float, heap: Array, place: Array, key: Array) -> None:
    """Lower a column's key if it still stands in the heap and its key is higher."""
    if place[column] != _NOWHERE and reach < key[column]:
        key[column] = reach
        sift_up(heap, place, key, place[column])


@numba.njit(cache=True, nogil=True)
def spread_from_free(
    level: float,
    first: Array,
    last: Array,
    node: Array,
    length: Array,
    free: Array,
    room: Array,
    outwards: bool,
    heap: Array,
    place: Array,
    key: Array,
) -> None:
    """Give all free columns their key, and lower those that they reach."""
    for column in range(len(key)):
        if free[column]:
            key[column] = level
            for e in range(first[column], last[column]):
                lower(node[e], level + length[e], heap, place, key)
        elif outwards:
            lower(column, level + room[column], heap, place, key)


@numba.njit(cache=True, nogil=True)
def spread(
    first: Array, last: Array, node: Array, length: Array, key: Array, free: Array, room: Array, outwards: bool
) -> float:
    """Lower keys to the least sum of a key and a shortest path from it (Dijkstra, all columns at once).

    Column `k` has edges `first[k]` to `last[k]`. All free columns are one: they have one key, at most
    zero, and it is returned. Edges of length `room` lead from them to every other column, or, if not
    `outwards`, from every other column to them.
    """
    n = len(key)
    order = np.argsort(key)
    heap = np.empty(n, np.int64)
    place = np.full(n, _NOWHERE)
    size = 0
    level = np.inf
    for at in range(n):
        column = int(order[at])
        if free[column]:
            level = min(level, 0.0, key[column])
        else:
            heap[size] = column
            place[column] = size
            size += 1
    settled = level == np.inf
    while size > 0 or not settled:
        if not settled and (size == 0 or level <= key[heap[0]]):
            settled = True
            spread_from_free(level, first, last, node, length, free, room, outwards, heap, place, key)
            continue
        column = pop_least(heap, place, key, size)
        size -= 1
        if not outwards and not settled:
            level = min(level, key[column] + room[column])
        for e in range(first[column], last[column]):
            other = node[e]
            reach = key[column] + length[e]
            if not free[other]:
                lower(other, reach, heap, place, key)
            elif not settled:
                level = min(level, reach)
    return level if level < np.inf else 0.0


@numba.njit(cache=True, nogil=True)
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
