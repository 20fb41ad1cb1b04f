import heapq

import numpy as np
import pytest

from sae_match.matching.solver import kernels


def test_kernels_are_compiled():
    assert {hasattr(getattr(kernels, name), "py_func") for name in ("bid", "augment", "spread")} == {True}


@pytest.mark.parametrize("seed", range(4))
def test_columns_leave_the_heap_in_the_order_of_their_keys(seed):
    key = np.random.default_rng(seed).integers(0, 20, 40).astype(float)
    heap, place = np.empty(40, np.int64), np.full(40, -1)
    for column in range(40):
        heap[column], place[column] = column, column
        kernels.sift_up(heap, place, key, column)
    left = [kernels.pop_least(heap, place, key, size) for size in range(40, 0, -1)]
    assert sorted(left) == list(range(40))
    assert key[left].tolist() == sorted(key)


def test_the_two_cheapest_pairs_of_a_row():
    starts, columns, cost = np.array([0, 3, 4]), np.array([0, 1, 2, 1]), np.array([5.0, 3.0, 4.0, 7.0])
    v = np.array([0.0, -2.0, 0.0])
    assert kernels.two_cheapest(0, starts, columns, cost, v) == (2, 4.0, 5.0)
    assert kernels.two_cheapest(1, starts, columns, cost, v) == (3, 9.0, np.inf)


@pytest.mark.parametrize("seed", range(4))
def test_keys_spread_along_shortest_paths(seed):
    generator = np.random.default_rng(seed)
    n, each = 50, 3
    first, last = np.arange(n) * each, (np.arange(n) + 1) * each
    node, length, start = generator.integers(n, size=n * each), generator.random(n * each), generator.random(n) * 3
    key = start.copy()
    level = kernels.spread(first, last, node, length, key, np.zeros(n, dtype=bool), np.zeros(n), True)
    assert level == 0
    assert key == pytest.approx(shortest(start, first, last, node, length))


@pytest.mark.parametrize("outwards", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_free_columns_are_one_with_room_to_the_others(seed, outwards):
    generator = np.random.default_rng(seed)
    n, each = 40, 3
    free = generator.random(n) < 0.3
    first, last = np.arange(n) * each, (np.arange(n) + 1) * each
    if outwards:
        # A free column has no owner that could pay for another.
        last[free] = first[free]
    node, length = generator.integers(n, size=n * each), generator.random(n * each)
    start, room = generator.random(n) * 4 - 1, np.where(free, 0.0, generator.random(n))
    key = start.copy()
    level = kernels.spread(first, last, node, length, key, free, room, outwards)
    # The same with a node of its own for all free columns, and every edge written down.
    edges = {k: [(node[e], length[e]) for e in range(first[k], last[k])] for k in range(n)}
    hub, owned, given = n, np.flatnonzero(~free), np.append(start, 0.0)
    edges[hub] = [edge for k in np.flatnonzero(free) for edge in edges[k]]
    edges[hub] += [(k, room[k]) for k in owned] if outwards else []
    for k in owned:
        edges[k] += [] if outwards else [(hub, room[k])]
    edges = {k: [(hub if j < n and free[j] else j, d) for j, d in edges[k]] for k in [*owned, hub]}
    given[hub] = min(0.0, start[free].min())
    given[:n][free] = np.inf
    starts = np.cumsum([0, *(len(edges.get(k, [])) for k in range(n + 1))])
    flat = [edge for k in range(n + 1) for edge in edges.get(k, [])]
    columns, lengths = np.array([j for j, _ in flat], dtype=np.int64), np.array([d for _, d in flat])
    expected = shortest(given, starts[:-1], starts[1:], columns, lengths)
    assert level == pytest.approx(expected[hub])
    assert key[owned] == pytest.approx(expected[owned])
    assert key[free] == pytest.approx(np.full(free.sum(), level))


def shortest(start, first, last, node, length):
    key, queue = start.copy(), [(value, k) for k, value in enumerate(start)]
    heapq.heapify(queue)
    while queue:
        value, k = heapq.heappop(queue)
        if value > key[k]:
            continue
        for e in range(first[k], last[k]):
            if value + length[e] < key[node[e]]:
                key[node[e]] = value + length[e]
                heapq.heappush(queue, (key[node[e]], node[e]))
    return key
