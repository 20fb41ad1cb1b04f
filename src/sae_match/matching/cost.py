"""From two SAEs to pairwise costs: every cost is a squared distance of feature vectors (Eq. 3)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.saes.folding import Fold, folding_scale
from sae_match.saes.sae import SAE

Term = Literal["W_enc", "b_enc", "W_dec"]
Metric = Literal["mse", "cosine"]
TERMS: tuple[Term, ...] = ("W_enc", "b_enc", "W_dec")

UNIT = torch.finfo(torch.float64).eps / 2
"""Unit roundoff of float64."""

# Few enough rows that a block of float64 vectors stays near the processor.
_ROWS_PER_BLOCK = 256
# On a processor the vectors of so few pairs stay in its cache; a GPU wants to be kept busy.
_PAIRS_PER_BLOCK = {"cpu": 32, "cuda": 8192}


def term_weights(terms: Sequence[str] | Mapping[str, float]) -> dict[Term, float]:
    """Weights by term, in a fixed order; a plain sequence of terms means weight one each.

    Raises:
        UserError: If a term is unknown, none has weight, or a weight is negative or not finite.
    """
    given = dict(terms) if isinstance(terms, Mapping) else dict.fromkeys(terms, 1.0)
    for name, weight in given.items():
        if name not in TERMS:
            raise UserError(f"unknown term {name!r}; there are {', '.join(TERMS)}")
        if not isinstance(weight, int | float) or not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"the weight of {name} must be finite and not negative, got {weight!r}")
    weights = {term: float(given[term]) for term in TERMS if given.get(term, 0.0) > 0}
    if not weights:
        raise UserError(f"no term to match by; choose among {', '.join(TERMS)}")
    return weights


@dataclass(frozen=True, eq=False)
class FeatureVectors:
    """One vector a feature, such that a pair's cost is the squared distance of its vectors.

    A vector puts a feature's column of `W_enc`, entry of `b_enc` and row of `W_dec` side by side,
    each times a factor. The parameters are kept as they are, the factors in float64, and the vectors
    themselves are made a block at a time: their float64 copy would be the largest thing in memory.

    Attributes:
        parts: Raw parameters of each term, one row a feature.
        factors: What a feature's row of each part is multiplied by: folding, the square root of the
            term's weight and, under `cosine`, the length.
        names: The terms' names, for messages.
    """

    parts: tuple[Float[Tensor, "n _"], ...]
    factors: tuple[Float64[Tensor, " n"], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.factors[0])

    @property
    def width(self) -> int:
        """Entries of a vector."""
        return sum(self.widths)

    @property
    def bytes(self) -> int:
        """Memory that the parts and factors take."""
        return sum(tensor.element_size() * tensor.numel() for tensor in (*self.parts, *self.factors))

    @property
    def widths(self) -> list[int]:
        """Entries of each part."""
        return [part.shape[1] for part in self.parts]

    def scaled_parts(self, index: Int64[Tensor, " k"] | slice) -> Iterator[Float64[Tensor, "k _"]]:
        """The pieces of some features' vectors, part after part."""
        for part, factor in zip(self.parts, self.factors, strict=True):
            yield part[index].double() * factor[index, None]

    def rows(self, index: Int64[Tensor, " k"] | slice) -> Float64[Tensor, "k width"]:
        """The vectors of some features."""
        return torch.cat(list(self.scaled_parts(index)), dim=1)

    def row_slices(self) -> Iterator[slice]:
        """All features, a block of few at a time."""
        return (slice(start, min(start + _ROWS_PER_BLOCK, len(self))) for start in range(0, len(self), _ROWS_PER_BLOCK))

    def selected(self, keep: Bool[Tensor, " n"]) -> "FeatureVectors":
        """The features that are kept, in their order."""
        if keep.all():
            return self
        index = keep.nonzero().flatten().to(self.factors[0].device)
        return FeatureVectors(
            tuple(part[index] for part in self.parts), tuple(factor[index] for factor in self.factors), self.names
        )

    def to(self, device: torch.device | str) -> "FeatureVectors":
        """The same vectors with their parts on another device."""
        if self.factors[0].device == torch.device(device):
            return self
        return FeatureVectors(
            tuple(part.to(device) for part in self.parts),
            tuple(factor.to(device) for factor in self.factors),
            self.names,
        )

    @cached_property
    def squares(self) -> Float64[Tensor, " n"]:
        """Squared length of every vector.

        Raises:
            UserError: If a vector is not finite, or its squared length leaves the range of float64.
        """
        squares = torch.zeros_like(self.factors[0])
        for rows in self.row_slices():
            for piece in self.scaled_parts(rows):
                squares[rows] += piece.square_().sum(1)
            if not bool(torch.isfinite(squares[rows]).all()):
                self._refuse_not_finite(rows)
        return squares

    def rough_mean(self) -> Float64[Tensor, " width"]:
        """Mean vector to the precision of the parts, which is quick to have."""
        sums = [factor.to(part.dtype) @ part for part, factor in zip(self.parts, self.factors, strict=True)]
        return torch.cat([total.double() for total in sums]).div(len(self))

    def _refuse_not_finite(self, rows: slice) -> None:
        for name, part in zip(self.names, self.parts, strict=True):
            bad = ~torch.isfinite(part).all(dim=1)
            if bad.any():
                raise UserError(
                    f"{name} of feature {int(bad.nonzero()[0])} is not finite ({int(bad.sum())} features are not)"
                )
        if not torch.isfinite(self.rows(rows)).all():
            raise UserError("folding takes a feature's parameters out of the range of float64")
        raise UserError("the squared length of a feature's parameters leaves the range of float64; lower the weights")


def feature_vectors(
    sae: SAE, *, fold: Fold, terms: Mapping[Term, float], metric: Metric, keep: Bool[Tensor, " d_sae"] | None = None
) -> FeatureVectors:
    """The feature vectors of an SAE under a folding, term weights and a metric.

    Under `mse` a pair's cost is the weighted sum of its terms' squared distances. Under `cosine`
    vectors have length `sqrt(1/2)`: the squared distance of two such vectors is one minus their
    cosine.

    Args:
        sae: Left untouched.
        fold: What the SAE is folded by.
        terms: Weights of the terms, all positive.
        metric: `mse` or `cosine`.
        keep: Features that are wanted; all by default. The others may be as bad as they like.

    Raises:
        UserError: If the SAE cannot be folded that way, a parameter is not finite, or, under
            `cosine`, a feature's vector is zero.
    """
    sae = sae if keep is None else _harmless_where_not(sae, keep)
    scale = folding_scale(sae.to(dtype=torch.float64) if fold == "decoder_norm" else sae, fold).detach().double()
    raw = {"W_enc": sae.W_enc.T, "b_enc": sae.b_enc[:, None], "W_dec": sae.W_dec}
    folding = {"W_enc": 1 / scale, "b_enc": 1 / scale, "W_dec": scale}
    vectors = FeatureVectors(
        parts=tuple(raw[name].detach().contiguous() for name in terms),
        factors=tuple(math.sqrt(weight) * folding[name] for name, weight in terms.items()),
        names=tuple(terms),
    )
    lengths = vectors.squares.sqrt()
    if metric == "cosine":
        if (lengths == 0).any():
            raise UserError(f"feature {int((lengths == 0).nonzero()[0, 0])} is zero in all terms and has no cosine")
        factors = tuple(factor / (lengths * math.sqrt(2)) for factor in vectors.factors)
        vectors = FeatureVectors(vectors.parts, factors, vectors.names)
    elif metric != "mse":
        raise UserError(f"unknown metric {metric!r}; there are mse, cosine")
    return vectors if keep is None else vectors.selected(keep)


def _harmless_where_not(sae: SAE, keep: Bool[Tensor, " d_sae"]) -> SAE:
    """The same SAE with ones for the parameters of features that are not kept."""
    keep = keep.to(sae.b_enc.device)
    return replace(
        sae,
        W_enc=torch.where(keep, sae.W_enc, 1),
        b_enc=torch.where(keep, sae.b_enc, 1),
        W_dec=torch.where(keep[:, None], sae.W_dec, 1),
        threshold=None if sae.threshold is None else torch.where(keep, sae.threshold, 1),
    )


def common_centre(source: FeatureVectors, target: FeatureVectors) -> Float64[Tensor, " width"]:
    """Point that both sides may be measured from: distances stay, and what all features share cancels.

    Any point would do; where the rough mean is not finite, the origin does.
    """
    centre = (source.rough_mean() + target.rough_mean()) / 2
    return torch.where(torch.isfinite(centre), centre, 0)


def squares_about(vectors: FeatureVectors, centre: Float64[Tensor, " width"]) -> Float64[Tensor, " n"]:
    """Squared distance of every vector from a point, off by no more than `rounding_margin`."""
    products = torch.zeros_like(vectors.squares)
    for part, factor, piece in zip(vectors.parts, vectors.factors, centre.split(vectors.widths), strict=True):
        for rows in vectors.row_slices():
            products[rows] += (part[rows].double() @ piece) * factor[rows]
    return (vectors.squares - 2 * products + centre.square().sum()).clamp_min_(0)


def unit_lengths(*squares: Float64[Tensor, " _"]) -> tuple[Float64[Tensor, " _"], ...]:
    """Positive lengths of vectors of several sides, given their squares.

    A vector that is very short counts as a tenth of the mean length.
    """
    lengths = [side.sqrt() for side in squares]
    floor = 0.1 * torch.cat(lengths).mean()
    floor = floor if floor > 0 else torch.ones_like(floor)
    return tuple(side.maximum(floor) for side in lengths)


def cost_matrix(source: FeatureVectors, target: FeatureVectors) -> Float64[Tensor, "n_source n_target"]:
    """Squared distances of all pairs, float64, by one matrix product about the common centre."""
    centre = common_centre(source, target)
    rows, columns = (side.rows(slice(None)).sub_(centre) for side in (source, target))
    costs = rows @ columns.T
    # In place: at this size a temporary matrix is what a memory budget breaks on.
    return costs.mul_(-2).add_(rows.square().sum(1)[:, None]).add_(columns.square().sum(1)).clamp_min_(0)


def pair_costs(
    source: FeatureVectors, target: FeatureVectors, permutation: Int64[Tensor, " n_source"]
) -> Float64[Tensor, " n_source"]:
    """Squared distance of each pair, from the differences themselves; nan where there is no pair."""
    paid = torch.zeros_like(source.factors[0])
    paired = (permutation >= 0).nonzero().flatten()
    for rows in paired.split(_ROWS_PER_BLOCK):
        for x, y in zip(source.scaled_parts(rows), target.scaled_parts(permutation[rows]), strict=True):
            paid[rows] += x.sub_(y).square_().sum(1)
    costs = torch.full((len(source),), math.nan, dtype=torch.float64)
    costs[paired.cpu()] = paid[paired].cpu()
    return costs


def scattered_products(
    source: FeatureVectors,
    target: FeatureVectors,
    rows: Int64[Tensor, " pairs"],
    columns: Int64[Tensor, " pairs"],
) -> Float64[Tensor, " pairs"]:
    """Inner products of listed pairs of vectors, float64, from the raw parameters.

    With the squared lengths they make costs many times faster than differences of vectors do, off by
    no more than `rounding_margin`.
    """
    products = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    step = _PAIRS_PER_BLOCK.get(rows.device.type, 1024)
    for start in range(0, len(rows), step):
        at = slice(start, start + step)
        i, j = rows[at], columns[at]
        products[at] = sum(
            torch.linalg.vecdot(x[i].double(), y[j].double()) * (s[i] * t[j])
            for x, s, y, t in zip(source.parts, source.factors, target.parts, target.factors, strict=True)
        )
    return products


def rounding_margin(
    width: int, source_squares: Float64[Tensor, " n_source"], target_squares: Float64[Tensor, " n_target"]
) -> Float64[Tensor, " n_source"]:
    """For each source feature, a bound on the rounding error of a float64 cost of it.

    An inner product of `n` terms in floating point is off by at most `n u / (1 - n u)` times the
    product of the norms, whatever the order of summation (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1); here `u = 2^-53`, and three such products and three sums make
    an entry. The factor two also covers the rounding of factors and of the centre, which is no
    further from the origin than vectors are on average, and about which products may be taken.

    Args:
        width: Entries of a vector.
        source_squares: Squared lengths of the source's vectors.
        target_squares: Squared lengths of the target's vectors.
    """
    terms = width + 8
    gamma = terms * UNIT / (1 - terms * UNIT)
    source, target = source_squares.sqrt(), target_squares.sqrt()
    reach = source + target.max() + source.mean() + target.mean()
    return 2 * gamma * reach.square()
