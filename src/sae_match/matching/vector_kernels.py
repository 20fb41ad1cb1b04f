"""Loops over raw parameters that are compiled: each number becomes float64 where it is used.

Nothing here checks its arguments; `arithmetic` is what calls it.
"""

from typing import TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.int64] | NDArray[np.float64] | NDArray[np.bool_]"


# Without `contract`, which rounds one of the two products and not the other: equal rows would not be at distance zero.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
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
