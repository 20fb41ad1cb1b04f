"""Vectors about a point that both sides are measured from: what costs by matrix products are made of.

Distances do not change when both sides are measured from another point, and near the middle of all
vectors what they have in common cancels before it can drown their differences in rounding.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from sae_match.matching.arithmetic import centred_rows
from sae_match.matching.cost import UNIT, FeatureVectors


@dataclass(frozen=True, eq=False)
class Centred:
    """One side's vectors about a centre, and what float64 makes of them.

    Attributes:
        vectors: The vectors.
        centre: Point that they are measured from.
        squares: Squared distance of every vector from it.
        slip: Bound on the rounding error of each of these squares.
        drift: Bound on how far from its place rounding moves each vector.
    """

    vectors: FeatureVectors
    centre: Float64[Tensor, " width"]
    squares: Float64[Tensor, " n"]
    slip: Float64[Tensor, " n"]
    drift: Float64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.vectors)

    def rows(self, index: slice) -> Float64[Tensor, "k width"]:
        """Some vectors, measured from the centre."""
        ones = torch.ones_like(self.squares[index])
        points = self.centre.split(self.vectors.widths)
        pieces = zip(self.vectors.parts, self.vectors.factors, points, strict=True)
        return torch.cat([centred_rows(part[index], factor[index], point, ones) for part, factor, point in pieces], 1)


def about_centre(source: FeatureVectors, target: FeatureVectors) -> tuple[Centred, Centred]:
    """Both sides about the middle of their vectors, or about the origin where that is not finite."""
    centre = (source.rough_mean() + target.rough_mean()) / 2
    centre = torch.where(torch.isfinite(centre), centre, 0)
    return _centred(source, centre), _centred(target, centre)


def unit_lengths(*sides: Centred) -> tuple[Float64[Tensor, " _"], ...]:
    """Positive lengths of the vectors of several sides; a very short one counts as a tenth of the mean."""
    lengths = [side.squares.sqrt() for side in sides]
    floor = 0.1 * torch.cat(lengths).mean()
    floor = floor if floor > 0 else torch.ones_like(floor)
    return tuple(side.maximum(floor) for side in lengths)


def cost_matrix(source: Centred, target: Centred) -> Float64[Tensor, "n_source n_target"]:
    """Squared distances of all pairs, float64, by one matrix product; off by `rounding_margin` at most."""
    rows, columns = source.rows(slice(None)), target.rows(slice(None))
    costs = rows @ columns.T
    # In place: at this size a temporary matrix is what a memory budget breaks on.
    return costs.mul_(-2).add_(source.squares[:, None]).add_(target.squares).clamp_min_(0)


def rounding_margin(source: Centred, target: Centred) -> Float64[Tensor, " n_source"]:
    """For each source feature, a bound on the rounding error of a float64 cost of it by products.

    An inner product of `n` terms in floating point is off by at most `n u / (1 - n u)` times the
    product of the norms, whatever the order of summation (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1); here `u = 2^-53`. To that come the errors of both squares,
    what the vectors have drifted, and two sums. The factor two is to spare.
    """
    x, y = source.squares.sqrt(), target.squares.sqrt().max()
    drift = target.drift.max()
    product = gamma(source.vectors.width) * x * y + source.drift * (y + drift) + x * drift
    sums = 4 * UNIT * (x + y).square()
    return 2 * (source.slip + target.slip.max() + 2 * product + sums)


def gamma(width: int) -> float:
    """Relative rounding error of a sum of `width` products in float64, and of a few operations more."""
    terms = width + 8
    return terms * UNIT / (1 - terms * UNIT)


def _centred(vectors: FeatureVectors, centre: Float64[Tensor, " width"]) -> Centred:
    origin, distance = vectors.squares.sqrt(), centre.square().sum().sqrt()
    squares = vectors.squares_about(centre)
    lengths = squares.sqrt()
    drift = 2 * UNIT * (origin + distance + lengths)
    slip = 2 * (gamma(vectors.width) * squares + (2 * lengths + drift) * drift)
    return Centred(vectors, centre, squares, slip, drift)
