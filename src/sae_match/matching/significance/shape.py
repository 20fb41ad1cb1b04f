"""What a side's directions have in common: the spread and the mean that a random target is to have as well."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from sae_match.matching.arithmetic import blocks
from sae_match.tensors import exact_product, quick_product

# Rows of a block: what is made of them in float64 stays small beside the dictionary.
_ROWS = 4096
# Columns of a block of a symmetric product, of which only the blocks on and above the diagonal are made.
_COLUMNS = 256
# Directions whose share of the second moment is below this of the largest one's are not there.
_ABSENT = 1e-12
# The first is the second moment itself; of the next ones, two bring what twenty do.
_PASSES = 3
# Spreads that are further apart than this, about, are no matter for float32.
_EVEN = 1e3


@dataclass(frozen=True, eq=False)
class Shape:
    """What one side's directions have in common: their second moment and their mean.

    Attributes:
        basis: Orthonormal; spans what the directions span. In float32 where that has digits enough.
        scale: How far they spread along each vector of the basis; at most one.
        mean: Mean direction, in the basis in which the second moment is white, of directions with length one there.
    """

    basis: Float[Tensor, "d span"]
    scale: Float64[Tensor, " span"]
    mean: Float64[Tensor, " d"]

    @classmethod
    def of(cls, rows: Float[Tensor, "n d"], kept: Int64[Tensor, " kept"]) -> "Shape":
        """The shape of some rows.

        Each counts with length one in the white basis (Tyler's estimate), so that what is coloured anew and then
        brought to its old length has the shape again; with length one in its own basis it would crowd less.
        """
        white = _white_quickly(rows, kept)
        if white is None:
            white = _white(rows, kept)
        second, total = _moments(rows, kept, white, torch.float64)
        values, basis = _spread(second)
        scale = (values / values[-1]).sqrt()
        # What has length one in the white basis has a second moment of trace one there.
        mean = (total @ basis / (values * len(values)).sqrt()) @ basis.T
        enough = rows.dtype != torch.float64 and len(basis) == len(scale) and float(scale.min()) * _EVEN > 1
        return cls(basis.float() if enough else basis, scale, mean)

    def transposed_map(self, white: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
        """The transpose of a map of rows that is given in the white basis; zero outside of the span."""
        scale = self.scale.to(self.basis.dtype)
        along = self.basis.T.contiguous()
        # `B S B' M' B S^-1 B'`: rows are made white, mapped and coloured again.
        inner = quick_product(along, quick_product(along, white.T.to(along.dtype).contiguous()))
        inner.mul_(scale[:, None]).div_(scale)
        return quick_product(self.basis, quick_product(self.basis, inner))


def _white_quickly(rows: Float[Tensor, "n d"], kept: Int64[Tensor, " kept"]) -> Float32[Tensor, "d d"] | None:
    """What gives rows the lengths that they have in the white basis; none where float32 has too few digits for that."""
    if rows.dtype == torch.float64 or len(kept) <= rows.shape[1]:
        return None
    white = None
    for _ in range(_PASSES - 1):
        second, _ = _moments(rows, kept, white, torch.float32)
        lower, failed = torch.linalg.cholesky_ex(second)
        if int(failed):
            return None
        inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=lower.dtype), upper=False)
        # Both norms would be equal to the root of the width if all spreads were the same.
        if not float(lower.norm() * inverse.norm()) < _EVEN * len(lower):
            return None
        white = inverse.float()
    return white


def _white(rows: Float[Tensor, "n d"], kept: Int64[Tensor, " kept"]) -> Float64[Tensor, "d d"] | None:
    """The same in float64, whatever the spreads."""
    white = None
    for _ in range(_PASSES - 1):
        values, basis = _spread(_moments(rows, kept, white, torch.float64)[0])
        white = (basis / values.sqrt()) @ basis.T
    return white


def _spread(second: Float64[Tensor, "d d"]) -> tuple[Float64[Tensor, " span"], Float64[Tensor, "d span"]]:
    """Directions of the second moment that are there, with their shares, the largest last."""
    values, vectors = torch.linalg.eigh(second)
    there = values > _ABSENT * values[-1]
    return values[there], vectors[:, there]


def _moments(
    rows: Float[Tensor, "n d"], kept: Int64[Tensor, " kept"], white: Float[Tensor, "d d"] | None, dtype: torch.dtype
) -> tuple[Float64[Tensor, "d d"], Float64[Tensor, " d"]]:
    """Second moment and mean of some rows, each divided by its length in a basis, by products in a dtype."""
    kept, white = kept.to(rows.device), None if white is None else white.to(rows.device)
    second = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    total = torch.zeros_like(second[0])
    for block in blocks(len(kept), _ROWS):
        some = rows[kept[block]].to(dtype)
        some /= some.norm(dim=1, keepdim=True)
        if white is not None:
            some /= quick_product(some.to(white.dtype), white).norm(dim=1, keepdim=True)
        total += some.sum(0, dtype=torch.float64)
        _add_squares(some.T, second)
    second = second.triu() + second.triu(1).T
    return second.cpu() / len(kept), total.cpu() / len(kept)


def _add_squares(columns: Float[Tensor, "d k"], second: Float64[Tensor, "d d"]) -> None:
    """Add the inner products of all columns with one another; below the diagonal blocks, nothing."""
    if columns.dtype == torch.float32:
        columns = columns.contiguous()
        second += quick_product(columns, columns)
        return
    for block in blocks(len(columns), _COLUMNS):
        second[block, block.start :] += exact_product(columns[block], columns[block.start :])
