"""Features as unit vectors whose inner product is the statistic; and copies of them that are quick to multiply."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.matching.arithmetic import round_rows, squared_distances, squares_of_rows
from sae_match.matching.cost import FeatureVectors
from sae_match.matching.relations.whitening import Whitening
from sae_match.matching.significance.settings import Statistic
from sae_match.matching.significance.statistic import compared
from sae_match.matching.solver.planning import fast_precision
from sae_match.matching.tuning import TUNING
from sae_match.saes.sae import SAE


def directions_of(
    sae: SAE, features: Bool[Tensor, " d_sae"], statistic: Statistic, whitening: Whitening | None = None
) -> FeatureVectors:
    """Vectors of length one of some features; the inner product of two is their statistic.

    Args:
        sae: The dictionary.
        features: Of it; all have directions.
        statistic: Which statistic.
        whitening: What directions go through first; none leaves them as they are.
    """
    parts = compared(sae, statistic)
    index = features.nonzero().flatten().to(sae.W_dec.device)
    chosen = tuple(part.detach().contiguous() if bool(features.all()) else part.detach()[index] for part in parts)
    if whitening is not None:
        chosen = tuple(whitening.applied(number, part) for number, part in enumerate(chosen))
    factors = []
    for part in chosen:
        ones = torch.ones(len(part), dtype=torch.float64, device=part.device)
        squares = squares_of_rows(part, ones, torch.zeros(part.shape[1], dtype=torch.float64, device=part.device))
        factors.append(1 / (squares.sqrt() * math.sqrt(len(chosen))))
    return FeatureVectors(chosen, tuple(factors), tuple(str(number) for number in range(len(chosen))))


def statistics(
    left: FeatureVectors, right: FeatureVectors, rows: Int64[Tensor, " pairs"], columns: Int64[Tensor, " pairs"]
) -> Float64[Tensor, " pairs"]:
    """Statistic of listed pairs, in float64: unit vectors at a squared distance `d` have the product `1 - d / 2`."""
    found = torch.zeros(len(rows), dtype=torch.float64)
    for sides in zip(
        zip(left.parts, left.factors, strict=True), zip(right.parts, right.factors, strict=True), strict=True
    ):
        device = sides[0][0].device
        found += squared_distances(sides[0], sides[1], rows.to(device), columns.to(device)).cpu()
    return 1 - found / 2


@dataclass(frozen=True, eq=False)
class Copy:
    """Vectors rounded to a precision in which they are quick to multiply.

    Attributes:
        rows: The rounded vectors.
        error: How far, at most, rounding has moved one.
    """

    rows: Float[Tensor, "n width"]
    error: float

    @classmethod
    def of(cls, vectors: FeatureVectors, precision: torch.dtype, at: slice = slice(None)) -> "Copy":
        """A copy of some vectors."""
        n = len(range(*at.indices(len(vectors))))
        device = vectors.factors[0].device
        rows = torch.empty(n, vectors.width, dtype=precision, device=device)
        moved, start = torch.zeros(n, dtype=torch.float64, device=device), 0
        for part, factor in zip(vectors.parts, vectors.factors, strict=True):
            out = rows[:, start : start + part.shape[1]]
            start += part.shape[1]
            origin = torch.zeros(part.shape[1], dtype=torch.float64, device=device)
            ones = torch.ones(n, dtype=torch.float64, device=device)
            moved += round_rows(part[at], factor[at], origin, ones, scale=1.0, out=out)
        # What float64 itself has lost is far below either precision.
        return cls(rows, float(moved.max().sqrt()) * (1 + 1e-6) + 1e-12)

    def margin(self, other: "Copy") -> float:
        """How far, at most, a product of a row with another copy's is from the truth before it is rounded itself."""
        # |a.b - x.y| <= |a - x| |b| + |x| |b - y|, and a and b have length one.
        copying = self.error + other.error * (1 + self.error)
        # Tensor cores cut off where a processor rounds, and keep fewer guard bits.
        terms = (self.rows.shape[1] + 4) * 2.0**-24 * (4 if self.rows.is_cuda else 1)
        return copying + terms / (1 - terms) * (1 + self.error) * (1 + other.error)


def precision_for(rows: int, columns: int, width: int, device: torch.device) -> torch.dtype:
    """In which products of all pairs are made first: bfloat16 where there are many and they are quick in it."""
    if rows * columns * width <= TUNING.dense_products:
        return torch.float32
    return fast_precision(device.type)
