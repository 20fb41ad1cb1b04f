"""Float64 arithmetic on raw parameters: compiled loops on a processor, blocks of tensors elsewhere.

A float64 copy of the parameters would be the largest thing in memory, and making it block by block is
slower than everything that is then done with it: the loops convert each number where they use it.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from sae_match.matching import vector_kernels
from sae_match.matching.tuning import TUNING

_COMPILED_DTYPES = {torch.float32, torch.float64}


def squares_of_rows(
    part: Float[Tensor, "n width"], factor: Float64[Tensor, " n"], centre: Float64[Tensor, " width"]
) -> Float64[Tensor, " n"]:
    """Squared distance of every row, times its factor, from a point."""
    squares = torch.zeros_like(factor)
    if _is_compiled(part):
        vector_kernels.add_squares(part.numpy(), factor.numpy(), centre.numpy(), squares.numpy())
        return squares
    for rows in blocks(len(part), TUNING.parameter_rows.on(part.device)):
        squares[rows] = centred_rows(part[rows], factor[rows], centre, torch.ones_like(factor[rows])).square_().sum(1)
    return squares


def centred_rows(
    part: Float[Tensor, "n width"],
    factor: Float64[Tensor, " n"],
    centre: Float64[Tensor, " width"],
    lengths: Float64[Tensor, " n"],
) -> Float64[Tensor, "n width"]:
    """Rows, each times its factor, measured from a point, and divided by a length."""
    if _is_compiled(part):
        rows = torch.empty(part.shape, dtype=torch.float64)
        vector_kernels.centre_rows(part.numpy(), factor.numpy(), centre.numpy(), lengths.numpy(), rows.numpy())
        return rows
    return (part.double() * factor[:, None]).sub_(centre).div_(lengths[:, None])


def round_rows(
    part: Float[Tensor, "n width"],
    factor: Float64[Tensor, " n"],
    centre: Float64[Tensor, " width"],
    lengths: Float64[Tensor, " n"],
    *,
    scale: float,
    out: Float[Tensor, "n width"],
) -> Float64[Tensor, " n"]:
    """Write what `centred_rows` returns, rounded to the dtype of `out` and then times a power of two.

    Returns:
        How far, squared, rounding has moved each row.
    """
    moved = torch.zeros_like(factor)
    if _is_compiled(part) and out.dtype == torch.bfloat16:
        row, bits = torch.empty(part.shape[1], dtype=torch.float32), out.view(torch.int16)
        vector_kernels.round_rows(
            part.numpy(),
            factor.numpy(),
            centre.numpy(),
            lengths.numpy(),
            scale,
            row.numpy(),
            row.view(torch.int32).numpy(),
            bits.numpy(),
            moved.numpy(),
        )
        return moved
    for rows in blocks(len(part), TUNING.parameter_rows.on(part.device)):
        unit = centred_rows(part[rows], factor[rows], centre, lengths[rows])
        rounded = unit.to(out.dtype)
        out[rows] = rounded * scale
        moved[rows] = unit.sub_(rounded.double()).square_().sum(1)
    return moved


def squared_distances(
    source: tuple[Float[Tensor, "n_source width"], Float64[Tensor, " n_source"]],
    target: tuple[Float[Tensor, "n_target width"], Float64[Tensor, " n_target"]],
    rows: Int64[Tensor, " pairs"],
    columns: Int64[Tensor, " pairs"],
) -> Float64[Tensor, " pairs"]:
    """Squared distance of listed pairs of rows of two matrices, each row times its factor."""
    (x, x_factor), (y, y_factor) = source, target
    distances = torch.zeros(len(rows), dtype=torch.float64, device=x.device)
    if _is_compiled(x) and _is_compiled(y):
        arrays = (tensor.numpy() for tensor in (x, x_factor, y, y_factor, rows, columns, distances))
        vector_kernels.add_distances(*arrays)
        return distances
    for some in blocks(len(rows), TUNING.parameter_rows.on(x.device)):
        i, j = rows[some], columns[some]
        difference = x[i].double() * x_factor[i, None] - y[j].double() * y_factor[j, None]
        distances[some] = difference.square_().sum(1)
    return distances


def blocks(n: int, step: int) -> Iterator[slice]:
    """All of `n` rows, so many at a time."""
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _is_compiled(part: Tensor) -> bool:
    return part.device.type == "cpu" and part.dtype in _COMPILED_DTYPES
