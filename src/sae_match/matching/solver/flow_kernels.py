"""Loops over listed pairs where a row or a column stands for several features: what `kernels` has for single ones.

A row has a supply and a column a capacity; `flow` says how much of them each listed pair joins.
"""

from typing import NamedTuple

import numba
import numpy as np

from sae_match.matching.solver.kernels import pop_least, sift_up, two_cheapest
from sae_match.matching.vector_kernels import Array

_NOWHERE = -1
# Turns of bidding; and from how many pairs on a row bids once a turn, since each of its bids looks at all of them.
_TURNS = 4
_MANY = 256
# What `Paths.counts` counts.
_HEAP, _REACHED, _SETTLED, _PASSED = range(4)


class Listed(NamedTuple):
    """Pairs in the order of their rows, and where those of each row and column are.

    Attributes:
        rows: Row of each pair.
        columns: Column of each pair.
        cost: Cost of each pair.
        starts: Pairs of row `i` are `starts[i]` to `starts[i + 1]`.
        by_column: Pairs in the order of their columns.
        column_starts: Where those of each column begin in `by_column`.
    """

    rows: Array
    columns: Array
    cost: Array
    starts: Array
    by_column: Array
    column_starts: Array


class Joined(NamedTuple):
    """What the pairs join, and what is left.

    Attributes:
        v: Column duals.
        flow: How much each pair joins.
        capacity: How much each column has.
        left: What of each row's supply is not joined.
        room: What of each column's capacity is not.
    """

    v: Array
    flow: Array
    capacity: Array
    left: Array
    room: Array


class Paths(NamedTuple):
    """Shortest paths from a row, as far as they are known.

    Attributes:
        key: Length of the path to each column.
        place: Where each column stands in the heap.
        heap: Columns to go on from, a binary heap by their keys.
        through: Pair by which the path reaches each column.
        back: Pair by which it goes on to each row.
        reached: Columns that have a path.
        settled: Columns whose path is the shortest.
        passed: Rows that it has gone on to.
        counts: How many stand in `heap`, `reached`, `settled` and `passed`.
        bound: Length of the path to the nearest column with room so far, one number.
    """

    key: Array
    place: Array
    heap: Array
    through: Array
    back: Array
    reached: Array
    settled: Array
    passed: Array
    counts: Array
    bound: Array


@numba.njit(cache=True, nogil=True)
def no_paths(n_rows: int, n_columns: int) -> Paths:
    """Paths of which nothing is known."""
    key, place, back = np.full(n_columns, np.inf), np.full(n_columns, _NOWHERE), np.full(n_rows, _NOWHERE)
    lists = np.empty((4, n_columns), np.int64)
    passed, counts, bound = np.empty(n_rows, np.int64), np.zeros(4, np.int64), np.full(1, np.inf)
    return Paths(key, place, lists[0], lists[1], back, lists[2], lists[3], passed, counts, bound)


@numba.njit(cache=True, nogil=True)
def forget(paths: Paths) -> None:
    """Make them paths of which nothing is known again."""
    for k in range(paths.counts[_REACHED]):
        paths.key[paths.reached[k]] = np.inf
        paths.place[paths.reached[k]] = _NOWHERE
    for k in range(paths.counts[_PASSED]):
        paths.back[paths.passed[k]] = _NOWHERE
    paths.counts[:] = 0
    paths.bound[0] = np.inf


@numba.njit(cache=True, nogil=True)
def bid(order: Array, pairs: Listed, joined: Joined, most_bids: int) -> None:
    """Let rows with something left take their cheapest columns, from their owners if need be.

    As many columns as a row needs at once, whose duals fall until each costs it as much as the first one that it
    does not take. A column changes owners only as a whole: what an owner keeps of it would no longer be at its
    cheapest. Augmenting row reduction, see `kernels.bid`, for rows that count more than once. Rows bid in `order`
    first.
    """
    left = joined.left
    waiting = np.empty(len(left) + most_bids, np.int64)
    heard = np.zeros(len(left), np.int64)
    size, turn = 0, 0
    for _ in range(most_bids):
        if size == 0:
            turn += 1
            size = line_up(order, left, waiting)
            if size == 0 or turn > _TURNS:
                return
        size -= 1
        row = int(waiting[size])
        many = pairs.starts[row + 1] - pairs.starts[row] > _MANY
        if left[row] == 0 or (many and heard[row] == turn):
            continue
        heard[row] = turn
        taken, level = wanted(row, pairs, joined)
        for e in taken:
            column = int(pairs.columns[e])
            net = pairs.cost[e] - joined.v[column]
            if net < level:
                size = take_from_owners(e, pairs, joined, waiting, size)
                joined.v[column] -= level - net
            join(e, min(left[row], joined.room[column]), pairs, joined)


@numba.njit(cache=True, nogil=True)
def line_up(order: Array, left: Array, waiting: Array) -> int:
    """Put rows with something left in line, the first in order at the end; returns how many."""
    size = 0
    for at in range(len(order) - 1, -1, -1):
        if left[order[at]] > 0:
            waiting[size] = order[at]
            size += 1
    return size


@numba.njit(cache=True, nogil=True)
def wanted(row: int, pairs: Listed, joined: Joined) -> tuple[Array, float]:
    """The pairs that a row bids for, and what they are to cost it: as much as the next cheapest.

    Of the last of them it takes what has no owner, at the price that there is, if that is what they are to cost.
    """
    need = joined.left[row]
    if need == 1:
        pair, best, second = two_cheapest(row, pairs.starts, pairs.columns, pairs.cost, joined.v)
        whole = joined.capacity[pairs.columns[pair]] - joined.flow[pair]
        return np.full(1, pair), second if whole == 1 and second < np.inf else best
    first, last = pairs.starts[row], pairs.starts[row + 1]
    nets = pairs.cost[first:last] - joined.v[pairs.columns[first:last]]
    by_net = np.argsort(nets)
    for k in range(len(by_net)):
        e = first + by_net[k]
        need -= joined.capacity[pairs.columns[e]] - joined.flow[e]
        if need < 0:
            return first + by_net[: k + 1], nets[by_net[k]]
        if need == 0 and k + 1 < len(by_net):
            return first + by_net[: k + 1], nets[by_net[k + 1]]
    return first + by_net, nets[by_net[len(by_net) - 1]]


@numba.njit(cache=True, nogil=True)
def take_from_owners(e: int, pairs: Listed, joined: Joined, waiting: Array, size: int) -> int:
    """Free a pair's column of what other rows have of it; they line up. Returns how many then wait."""
    column = pairs.columns[e]
    for at in range(pairs.column_starts[column], pairs.column_starts[column + 1]):
        other = int(pairs.by_column[at])
        if other == e or joined.flow[other] == 0:
            continue
        join(other, -joined.flow[other], pairs, joined)
        if size < len(waiting):
            waiting[size] = pairs.rows[other]
            size += 1
    return size


@numba.njit(cache=True, nogil=True)
def join(e: int, amount: int, pairs: Listed, joined: Joined) -> None:
    """Have a pair join so much more."""
    joined.flow[e] += amount
    joined.left[pairs.rows[e]] -= amount
    joined.room[pairs.columns[e]] -= amount


@numba.njit(cache=True, nogil=True)
def visit(row: int, base: float, pairs: Listed, joined: Joined, paths: Paths) -> None:
    """Shorten the paths to a row's columns by way of it, see `kernels.relax`.

    Columns that are the row's alone lead nowhere else: they are settled with it.
    """
    counts = paths.counts
    for e in range(pairs.starts[row], pairs.starts[row + 1]):
        column = pairs.columns[e]
        length = base + pairs.cost[e] - joined.v[column]
        if length >= paths.key[column] or length >= paths.bound[0]:
            continue
        if paths.key[column] == np.inf:
            paths.reached[counts[_REACHED]] = column
            counts[_REACHED] += 1
            if joined.flow[e] == joined.capacity[column]:
                paths.key[column] = length
                paths.settled[counts[_SETTLED]] = column
                counts[_SETTLED] += 1
                continue
            paths.heap[counts[_HEAP]] = column
            paths.place[column] = counts[_HEAP]
            counts[_HEAP] += 1
        elif paths.place[column] == _NOWHERE:
            continue
        if joined.room[column] > 0:
            paths.bound[0] = length
        paths.key[column] = length
        paths.through[column] = e
        sift_up(paths.heap, paths.place, paths.key, paths.place[column])


@numba.njit(cache=True, nogil=True)
def nearest_with_room(start: int, pairs: Listed, joined: Joined, paths: Paths) -> int:
    """The column with room to which the shortest path from a row leads (Dijkstra), or -1."""
    _, own, _ = two_cheapest(start, pairs.starts, pairs.columns, pairs.cost, joined.v)
    visit(start, -own, pairs, joined, paths)
    counts = paths.counts
    while counts[_HEAP] > 0:
        column = pop_least(paths.heap, paths.place, paths.key, counts[_HEAP])
        counts[_HEAP] -= 1
        if joined.room[column] > 0:
            return column
        paths.settled[counts[_SETTLED]] = column
        counts[_SETTLED] += 1
        for at in range(pairs.column_starts[column], pairs.column_starts[column + 1]):
            e = pairs.by_column[at]
            row = int(pairs.rows[e])
            if joined.flow[e] == 0 or row == start or paths.back[row] != _NOWHERE:
                continue
            paths.back[row] = e
            paths.passed[counts[_PASSED]] = row
            counts[_PASSED] += 1
            _, own, _ = two_cheapest(row, pairs.starts, pairs.columns, pairs.cost, joined.v)
            visit(row, paths.key[column] - own, pairs, joined, paths)
    return _NOWHERE


@numba.njit(cache=True, nogil=True)
def push(start: int, sink: int, pairs: Listed, joined: Joined, paths: Paths) -> None:
    """Send along the path from a row to a column as much as it can take."""
    most = min(joined.left[start], joined.room[sink])
    column = sink
    while pairs.rows[paths.through[column]] != start:
        e = paths.back[pairs.rows[paths.through[column]]]
        most = min(most, joined.flow[e])
        column = pairs.columns[e]
    column = sink
    while True:
        row = pairs.rows[paths.through[column]]
        join(paths.through[column], most, pairs, joined)
        if row == start:
            return
        join(paths.back[row], -most, pairs, joined)
        column = pairs.columns[paths.back[row]]


@numba.njit(cache=True, nogil=True)
def augment(pairs: Listed, joined: Joined, most: int) -> int:
    """Send what rows have left along shortest paths, `most` times, the duals following.

    Pairs that join something must be the cheapest of their rows under `v`. Returns the first row from which no
    path leads to a column with room, or -1.
    """
    paths = no_paths(len(joined.left), len(joined.v))
    sent = 0
    for row_with_some in np.flatnonzero(joined.left > 0):
        start = int(row_with_some)
        while joined.left[start] > 0 and sent < most:
            sent += 1
            sink = nearest_with_room(start, pairs, joined, paths)
            if sink == _NOWHERE:
                return start
            for k in range(paths.counts[_SETTLED]):
                joined.v[paths.settled[k]] += paths.key[paths.settled[k]] - paths.key[sink]
            push(start, sink, pairs, joined, paths)
            forget(paths)
    return -1
