"""From two SAEs to pairwise costs: every cost is a squared distance of feature vectors (Eq. 3)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.arithmetic import blocks, squares_of_rows
from sae_match.matching.settings import TERMS, Metric, Term, refuse_unknown_metric, term_weights
from sae_match.matching.tuning import TUNING
from sae_match.saes.folding import Fold, folding_scale, harmless_where_not
from sae_match.saes.sae import SAE
from sae_match.tensors import exact_product

__all__ = ["TERMS", "UNIT", "FeatureVectors", "Metric", "Term", "feature_vectors", "term_weights"]

UNIT = torch.finfo(torch.float64).eps / 2
"""Unit roundoff of float64."""


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
        return blocks(len(self), TUNING.vector_rows)

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
        squares = self.squares_about(torch.zeros(self.width, dtype=torch.float64, device=self.factors[0].device))
        for rows in self.row_slices():
            if not bool(torch.isfinite(squares[rows]).all()):
                self._refuse_not_finite(rows)
        return squares

    def squares_about(self, centre: Float64[Tensor, " width"]) -> Float64[Tensor, " n"]:
        """Squared distance of every vector from a point."""
        squares = torch.zeros_like(self.factors[0])
        for part, factor, point in zip(self.parts, self.factors, centre.split(self.widths), strict=True):
            squares += squares_of_rows(part, factor, point)
        return squares

    def rough_mean(self) -> Float64[Tensor, " width"]:
        """Mean vector to the precision of the parts, which is quick to have."""
        both = zip(self.parts, self.factors, strict=True)
        sums = [exact_product(factor.to(part.dtype)[None], part.T)[0] for part, factor in both]
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
    sae = sae if keep is None else harmless_where_not(sae, keep)
    scale = folding_scale(sae.to(dtype=torch.float64) if fold == "decoder_norm" else sae, fold).detach().double()
    raw = {"W_enc": sae.W_enc.T, "b_enc": sae.b_enc[:, None], "W_dec": sae.W_dec}
    folding = {"W_enc": 1 / scale, "b_enc": 1 / scale, "W_dec": scale}
    vectors = FeatureVectors(
        parts=tuple(raw[name].detach().contiguous() for name in terms),
        factors=tuple(math.sqrt(weight) * folding[name] for name, weight in terms.items()),
        names=tuple(terms),
    )
    lengths = vectors.squares.sqrt()
    refuse_unknown_metric(metric)
    if metric == "cosine":
        if (lengths == 0).any():
            raise UserError(f"feature {int((lengths == 0).nonzero()[0, 0])} is zero in all terms and has no cosine")
        factors = tuple(factor / (lengths * math.sqrt(2)) for factor in vectors.factors)
        vectors = FeatureVectors(vectors.parts, factors, vectors.names)
    return vectors if keep is None else vectors.selected(keep)
