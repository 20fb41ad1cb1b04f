"""Whitening: directions as they are in a basis in which dictionaries do not crowd.

Features of real dictionaries crowd in a few directions, and any two of them are alike there. What a relative has of its
own is spread like all else, so that it stays as near as it is when directions are whitened, while strangers move apart:
weak relatives stand out.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sae_match.matching.arithmetic import blocks
from sae_match.matching.significance.settings import Statistic
from sae_match.matching.significance.statistic import compared
from sae_match.saes.sae import SAE
from sae_match.tensors import quick_product

#: What is added to the spread along every direction, as a share of the mean spread: directions that hardly any feature
#: uses are not blown up. Measured on planted relatives: 0.1, 0.3 and 1 find the same to a hundredth.
SHRINKAGE = 0.3
# Features of a side that its second moment is taken of, at most: every second, every third and so on of more.
_MOST = 8192
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Whitening:
    """A map of directions for each part that a statistic compares.

    Attributes:
        maps: `x @ map` is a whitened row.
    """

    maps: tuple[Float64[Tensor, "d d"], ...]

    @classmethod
    def of(
        cls,
        source: SAE,
        target: SAE,
        rows: Bool[Tensor, " n_source"],
        columns: Bool[Tensor, " n_target"],
        statistic: Statistic,
    ) -> "Whitening":
        """What makes the features of two dictionaries together, each dictionary counting as much, nearly white.

        Args:
            source: One side.
            target: The other side, on the same device.
            rows: Source features that count; all have directions.
            columns: Target features that count; all have directions.
            statistic: Says which parts are compared.
        """
        parts = zip(compared(source, statistic), compared(target, statistic), strict=True)
        return cls(tuple(_map((_second_moment(x, rows) + _second_moment(y, columns)) / 2) for x, y in parts))

    def applied(self, part: int, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Whitened rows of a part, in its dtype, at least float32."""
        dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
        return quick_product(rows.to(dtype).contiguous(), self.maps[part].T.to(rows.device, dtype).contiguous())


def _map(second: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    """A map whose product with its transpose is the inverse of a second moment that has been shrunk.

    Only inner products count, and any such map gives the same: that of Cholesky is the quickest.
    """
    n = len(second)
    lower = torch.linalg.cholesky(second + SHRINKAGE / n * torch.eye(n, dtype=torch.float64))
    inverse: Tensor = torch.linalg.solve_triangular(lower, torch.eye(n, dtype=torch.float64), upper=False)
    return inverse.T


def _second_moment(part: Float[Tensor, "n d"], features: Bool[Tensor, " n"]) -> Float64[Tensor, "d d"]:
    """Of directions with length one: its trace is one."""
    index = features.nonzero().flatten()
    index = index[:: -(-len(index) // _MOST)].to(part.device)
    found = torch.zeros(part.shape[1], part.shape[1], dtype=torch.float64)
    for block in blocks(len(index), _ROWS):
        some = part.detach()[index[block]]
        # What lengths overflow in is not told apart by them: unit rows are made in float64, multiplied in float32.
        unit = torch.nn.functional.normalize(some.double(), dim=1, eps=0.0)
        unit = unit if some.dtype == torch.float64 else unit.float()
        found += quick_product(unit.T.contiguous(), unit.T.contiguous()).double().cpu()
    return found / len(index)
