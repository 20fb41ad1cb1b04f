"""Further forms of explained variance, which no single dimension and no few tokens can own.

- `by_dimension`: the mean over dimensions of each one's own `1 - Var(x_hat - x) / Var(x)`. Dimensions that do not vary
  are left out.
- `normed`: explained variance of residuals as the next block reads them, behind its norm.
- `…_usual`: the same without tokens of extreme norm (`norms`).

The sample's numbers are exact. For the replicates of the bootstrap a row of every dimension would be too much to keep:
18 MB for each arm, pair and dataset of Gemma 2 2B. Instead every dimension is measured in units of its own deviation,
which the survey has found over the whole text. In these units the mean over dimensions is a ratio of two sums, the
variance of the error over that of the residual, and two numbers a replicate are enough. That leaves out that dimensions
have other deviations in a replicate's documents, each its own, and keeps how these move on average. Ends of intervals
are within a tenth of their width of the plain bootstrap's where dimensions are alike, and within a quarter where few
documents move some dimensions much more than others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.evaluation.statistics.streaming import Rows, by_document

Form = Literal["by_dimension", "by_dimension_usual", "normed", "normed_usual"]

#: In the order in which results have them.
FORMS: tuple[Form, ...] = ("by_dimension", "by_dimension_usual", "normed", "normed_usual")
_BY_DIMENSION: tuple[Form, ...] = ("by_dimension", "by_dimension_usual")
_USUAL: tuple[Form, ...] = ("by_dimension_usual", "normed_usual")
#: Columns of the sums by replicate: squared distances to the reference, and what takes a replicate's mean away from
#: the sample's (`streaming`), both in units of the scales.
FORM_COLUMNS = 2

# A dimension varies if its variance is more than this share of its squared mean: far below what float32 can tell apart,
# far above what rounding in float64 leaves. Scales come from plain squares, in which more is lost.
_VARIES, _HAS_A_SCALE = 1e-20, 1e-9


def forms_of(has_norm: bool) -> tuple[Form, ...]:
    """Forms that there are, of residuals that a norm reads or of others."""
    return FORMS if has_norm else _BY_DIMENSION


def is_usual(form: Form) -> bool:
    """Whether tokens of extreme norm are left out."""
    return form in _USUAL


def is_by_dimension(form: Form) -> bool:
    """Whether dimensions count alike."""
    return form in _BY_DIMENSION


@dataclass(frozen=True)
class Landmarks:
    """What a survey of the evaluated text has found of a layer on a dataset, before anything is measured.

    Attributes:
        scale: One over the deviation of each dimension; zero of those that do not vary.
        extreme: Norm above which a token is extreme; nan where there is no token.
    """

    scale: Float64[Tensor, " d_in"]
    extreme: float

    def to(self, device: torch.device) -> "Landmarks":
        """The same on another device."""
        return replace(self, scale=self.scale.to(device))


def scale_of(mean: Float64[Tensor, " d_in"], mean_square: Float64[Tensor, " d_in"]) -> Float64[Tensor, " d_in"]:
    """One over the deviation of each dimension; zero where that is nothing beside its mean."""
    variance = mean_square - mean.square()
    has_one = variance > _HAS_A_SCALE * mean.square()
    return torch.where(has_one, variance.clamp_min(torch.finfo(torch.float64).tiny).rsqrt(), 0.0)


@dataclass(frozen=True)
class FormSums:
    """Sums of a batch's vectors about a reference, under one form.

    Attributes:
        columns: For each document, squared distances and the squared length of the sum, in units of the scales.
        total: Sum over all documents, as it is.
        squares: Sum of squares of each dimension, as it is.
    """

    columns: Float64[Tensor, "documents two"]
    total: Float64[Tensor, " d_in"]
    squares: Float64[Tensor, " d_in"]

    @classmethod
    def of(
        cls,
        vectors: Float[Tensor, "tokens d_in"],
        document: Int64[Tensor, " tokens"],
        n_documents: int,
        reference: Float64[Tensor, " d_in"],
        scale: Float64[Tensor, " d_in"] | None,
    ) -> "FormSums":
        """Sums of a batch, on its device.

        Args:
            vectors: One a token.
            document: Which document of the batch each token belongs to.
            n_documents: Documents of the batch.
            reference: The mean of all vectors, or a point near it.
            scale: What each dimension is multiplied by in the sums of replicates; by default one.
        """
        apart = vectors.double() - reference
        sums = by_document(apart, document, n_documents)
        squares = by_document(apart.square_(), document, n_documents)
        scale = torch.ones_like(reference) if scale is None else scale
        columns = torch.stack([squares @ scale.square(), (sums * scale).square().sum(1)], 1)
        return cls(columns, sums.sum(0), squares.sum(0))

    def weighted(self, weights: Float64[Tensor, "rows documents"]) -> Float64[Tensor, "rows two"]:
        """Sums over documents, each counted as often as a row says; see `DocumentVectors.weighted`."""
        return torch.stack([weights @ self.columns[:, 0], (weights - 1).square() @ self.columns[:, 1]], 1)


@dataclass(frozen=True)
class FormSpread:
    """How vectors vary under a form, in the sample and its replicates.

    Attributes:
        count: Tokens of each row.
        columns: Sums over documents, weighted by row.
        total: The sample's sum of vectors less the reference.
        squares: The sample's sum of their squares, by dimension.
        reference: The point that these are taken about.
        scale: As in `FormSums.of`.
    """

    count: Rows
    columns: Float64[Tensor, "rows two"]
    total: Float64[Tensor, " d_in"]
    squares: Float64[Tensor, " d_in"]
    reference: Float64[Tensor, " d_in"]
    scale: Float64[Tensor, " d_in"]

    @property
    def variance(self) -> Rows:
        """Mean squared distance to the mean in units of the scales, summed over dimensions."""
        mean = (self.total * self.scale / self.count[0]).square().sum()
        variance: Rows = self.columns[:, 0] / self.count - (mean + self.columns[:, 1] / self.count.square())
        return variance

    @property
    def variances(self) -> Float64[Tensor, " d_in"]:
        """Variance of each dimension in the sample."""
        return (self.squares / self.count[0] - (self.total / self.count[0]).square()).clamp_min(0)

    @property
    def varies(self) -> Bool[Tensor, " d_in"]:
        """Which dimensions vary at all."""
        return self.variances > _VARIES * (self.reference + self.total / self.count[0]).square()

    @property
    def largest_share(self) -> float:
        """Share of the largest dimension in the variance of all; nan where there is none."""
        return float(self.variances.max() / self.variances.sum())


def explained_variance_in(form: Form, x: FormSpread, error: FormSpread) -> Rows:
    """Explained variance under a form, for the sample and its replicates."""
    ratio: Rows = error.variance / x.variance
    if not is_by_dimension(form):
        return 1 - ratio
    varies = x.varies
    unexplained = (error.variances[varies] / x.variances[varies]).mean()
    # Where extreme tokens are left out, scales are still those of all tokens: near enough for how replicates differ.
    moved = torch.where(ratio[0] > 0, ratio / ratio[0], torch.ones_like(ratio))
    return 1 - unexplained * moved


def form_entries(form: Form, rows: int, d_in: int) -> int:
    """Numbers that a form's sums take: only dimensions that count alike need squares of their own."""
    return rows * FORM_COLUMNS + d_in * (2 if is_by_dimension(form) else 1)


@dataclass(frozen=True)
class UsualTokens:
    """Tokens whose norm is not extreme.

    Attributes:
        are: Which ones.
        places: Their numbers; none where all are.
    """

    are: Bool[Tensor, " tokens"]
    places: Int64[Tensor, " usual"] | None

    @classmethod
    def among(cls, are: Bool[Tensor, " tokens"]) -> "UsualTokens":
        """Those that are so. The host waits for how many they are: it is found out once, not for every arm."""
        places = are.nonzero()[:, 0]
        return cls(are, None if len(places) == len(are) else places)

    @classmethod
    def of(cls, norms: Float64[Tensor, " tokens"], landmarks: Landmarks) -> "UsualTokens":
        """By their norms."""
        return cls.among(~(norms > landmarks.extreme))


def sums_under(
    forms: Sequence[Form],
    vectors: Float[Tensor, "tokens d_in"],
    usual: UsualTokens,
    document: Int64[Tensor, " tokens"],
    n_documents: int,
    reference: Float64[Tensor, " d_in"],
    scale: Float64[Tensor, " d_in"] | None,
) -> dict[Form, FormSums]:
    """Sums of a batch under some forms, which are about the same vectors.

    Args:
        forms: Which ones: with all tokens, or with usual ones only.
        vectors: Residuals of a layer or errors of an arm, or these behind the norm.
        usual: Tokens whose norm is not extreme.
        document: Which document of the batch each token belongs to.
        n_documents: Documents of the batch.
        reference: The mean of the vectors, or a point near it.
        scale: What each dimension is multiplied by; one where it is none.
    """
    whole = FormSums.of(vectors, document, n_documents, reference, scale)
    if not any(map(is_usual, forms)) or usual.places is None:
        return dict.fromkeys(forms, whole)
    without = FormSums.of(vectors[usual.places], document[usual.places], n_documents, reference, scale)
    return {form: without if is_usual(form) else whole for form in forms}
