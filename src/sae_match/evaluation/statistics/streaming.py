"""Streaming statistics: sums in float64 that can be added in any order, and what follows from them.

Every sum has a row for the sample and one for each replicate of the bootstrap
(`sae_match.bootstrap`). Sums of two batches, or of two processes, are added entry by entry.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64, Real, Shaped
from torch import Tensor

#: Where sums are kept unless a device is named.
CPU = torch.device("cpu")

_COUNT, _SQUARES, _ALONG, _APART = range(4)
#: Columns of the sums of vectors: count, squared distances to the reference, sum along the reference,
#: and what takes a replicate's mean away from the sample's.
SPREAD_COLUMNS = 4

Rows = Float64[Tensor, " rows"]


def by_document(
    vectors: Float64[Tensor, "tokens d_in"], document: Int64[Tensor, " tokens"], n_documents: int
) -> Float64[Tensor, "documents d_in"]:
    """Sum of the vectors of each document of a batch, on their device."""
    return vectors.new_zeros(n_documents, vectors.shape[1]).index_add_(0, document, vectors)


def counted(
    places: Int64[Tensor, " entries"], size: int, times: Shaped[Tensor, " entries"] | None = None
) -> Float64[Tensor, " size"]:
    """How often each number below `size` is among some, on their device.

    As `torch.bincount`, which has the host wait for the largest of them.

    Args:
        places: The numbers.
        size: Above all of them.
        times: How often each entry counts; once by default.
    """
    each = torch.ones_like(places, dtype=torch.float64) if times is None else times.double()
    return each.new_zeros(size).index_add_(0, places, each)


@dataclass(frozen=True)
class DocumentVectors:
    """Sums of vectors about a reference, a row for each document of a batch.

    Attributes:
        columns: Count, squared distances, sum along the reference, squared length of the sum.
        total: Sum over all documents.
    """

    columns: Float64[Tensor, "documents four"]
    total: Float64[Tensor, " d_in"]

    @classmethod
    def of(
        cls,
        vectors: Float[Tensor, "tokens d_in"],
        document: Int64[Tensor, " tokens"],
        n_documents: int,
        reference: Float64[Tensor, " d_in"],
    ) -> "DocumentVectors":
        """Sums of a batch, on its device.

        Args:
            vectors: One a token.
            document: Which document of the batch each token belongs to.
            n_documents: Documents of the batch.
            reference: The mean of all vectors; a point near it makes intervals less exact, and nothing else.
        """
        apart = vectors.double() - reference
        sums = by_document(apart, document, n_documents)
        squares = apart.new_zeros(n_documents).index_add_(0, document, apart.square().sum(1))
        count = counted(document, n_documents)
        return cls(torch.stack([count, squares, sums @ reference, sums.square().sum(1)], 1), sums.sum(0))

    def weighted(self, weights: Float64[Tensor, "rows documents"]) -> Float64[Tensor, "rows four"]:
        """Sums over documents, each counted as often as a row says.

        About the sample's mean, the sums `S` of all documents cancel, so that those of a replicate add up
        to `sum (w - 1) S`. Documents are drawn independently of each other: the squared length of that is
        `sum (w - 1)^2 |S|^2` on average, which is what the last column holds.
        """
        sums = weights @ self.columns
        sums[:, _APART] = (weights - 1).square() @ self.columns[:, _APART]
        return sums


@dataclass(frozen=True)
class Spread:
    """Variance and mean square of vectors, for the sample and its replicates.

    Attributes:
        columns: Sums over documents, weighted by row; see `DocumentVectors.weighted`.
        total: The sample's sum of vectors less the reference.
        reference: The mean, or a point near it.
    """

    columns: Float64[Tensor, "rows four"]
    total: Float64[Tensor, " d_in"]
    reference: Float64[Tensor, " d_in"]

    @property
    def count(self) -> int:
        """Vectors of the sample."""
        return int(self.columns[0, _COUNT])

    @property
    def mean(self) -> Float64[Tensor, " d_in"]:
        """The sample's mean vector."""
        return self.reference + self.total / self.count

    @property
    def variance(self) -> Rows:
        """Mean squared distance to the mean, summed over dimensions."""
        count = self.columns[:, _COUNT]
        apart = (self.total / self.count).square().sum() + self.columns[:, _APART] / count.square()
        variance: Rows = self.columns[:, _SQUARES] / count - apart
        return variance

    @property
    def mean_square(self) -> Rows:
        """Mean squared norm."""
        count = self.columns[:, _COUNT]
        along = 2 * self.columns[:, _ALONG] / count
        mean_square: Rows = self.columns[:, _SQUARES] / count + along + self.reference.square().sum()
        return mean_square


def explained_variance(x: Spread, error: Spread) -> Rows:
    """`1 - Var(x_hat - x) / Var(x)`; `error` is the spread of `x_hat - x`."""
    unexplained: Rows = error.variance / x.variance
    return 1 - unexplained


def explained_variance_mse(x: Spread, error: Spread) -> Rows:
    """SAELens' convention: `1 - E|x - x_hat|^2 / (E|x|^2 - |E x|^2)`."""
    unexplained: Rows = error.mean_square / x.variance
    return 1 - unexplained


def explained_change(change: Spread, error: Spread) -> Rows:
    """`1 - Var(x_hat - x_t) / Var(x_t - x_s)`; `change` is the spread of `x_s - x_t`. nan where nothing changes."""
    unexplained: Rows = error.variance / change.variance
    return torch.where(change.variance > 0, 1 - unexplained, torch.nan)


@dataclass(frozen=True)
class Active:
    """Which features were active on which tokens, as a list: few are.

    Attributes:
        token: Token of each entry.
        feature: Feature that was active on it.
        tokens: Tokens that there are.
        features: Features that there are.
    """

    token: Int64[Tensor, " entries"]
    feature: Int64[Tensor, " entries"]
    tokens: int
    features: int

    @classmethod
    def of(cls, f: Float[Tensor, "tokens features"]) -> "Active":
        """Entries where a feature's value is positive; or no number, so that what is made of it is none either."""
        token, feature = (~(f <= 0)).nonzero(as_tuple=True)
        return cls(token, feature, *f.shape)

    def by_feature(self) -> Float64[Tensor, " features"]:
        """Tokens on which each feature was active."""
        return counted(self.feature, self.features)

    def by_document(self, document: Int64[Tensor, " tokens"], n_documents: int) -> Float64[Tensor, " documents"]:
        """Active features on the tokens of each document, added up."""
        return counted(document[self.token], n_documents)


@dataclass(frozen=True)
class PairActivity:
    """How often both features of the pairs of a matching were active, by document and by source feature.

    Attributes:
        columns: For each document, over all pairs: tokens on which both features were active, the
            source feature, the target feature. A source feature without a partner counts as a source.
        joint: Tokens on which a source feature and its partner were both active.
    """

    columns: Float64[Tensor, "documents three"]
    joint: Real[Tensor, " n_source"]

    @classmethod
    def of(
        cls,
        source: Active,
        target: Active,
        f_target: Float[Tensor, "tokens n_target"],
        permutation: Int64[Tensor, " n_source"],
        document: Int64[Tensor, " tokens"],
        n_documents: int,
    ) -> "PairActivity":
        """Activity on a batch of tokens, counted on its device.

        Args:
            source: Active source features.
            target: Active target features.
            f_target: Target features, in which partners are looked up.
            permutation: Target feature of each source feature, -1 where there is none.
            document: Which document of the batch each token belongs to.
            n_documents: Documents of the batch.
        """
        partner = permutation[source.feature]
        both = (partner >= 0) & (f_target[source.token, partner.clamp_min(0)] > 0)
        # How many source features a target feature is the partner of: one at most, or any number of nearest.
        shared = counted(permutation.clamp_min(0), target.features, permutation >= 0)
        of_source = document[source.token]
        columns = [
            counted(of_source, n_documents, both),
            counted(of_source, n_documents),
            counted(document[target.token], n_documents, shared[target.feature]),
        ]
        return cls(torch.stack(columns, 1), counted(source.feature, source.features, both))


def sufficiency(sums: Float64[Tensor, "rows three"]) -> Rows:
    """Probability that the partner is active given that the source feature is: the matching score."""
    return sums[:, 0] / sums[:, 1]


def necessity(sums: Float64[Tensor, "rows three"]) -> Rows:
    """Probability that the source feature is active given that its partner is."""
    return sums[:, 0] / sums[:, 2]


def jaccard(sums: Float64[Tensor, "rows three"]) -> Rows:
    """Tokens on which both are active, of those on which one is."""
    return sums[:, 0] / (sums[:, 1] + sums[:, 2] - sums[:, 0])


def macro_score(joint: Float64[Tensor, " n_source"], active: Float64[Tensor, " n_source"]) -> float:
    """Mean over the source features that were ever active of their own matching score; nan without any."""
    live = active > 0
    return float((joint[live] / active[live]).mean())
