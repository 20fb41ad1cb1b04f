"""What an SAE does on tokens, as small immutable sums in float64 that can be added."""

from dataclasses import dataclass

from jaxtyping import Bool, Float64, Int64
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Count, mean and squared deviations of vectors.

    Two of them are joined about their common mean (Chan, Golub, LeVeque 1979), so that the variance
    of a residual stream far from the origin does not drown in its mean.

    Attributes:
        count: Number of vectors.
        mean: Their mean.
        squared_deviation: Sum over vectors of squared distances to the mean, by dimension.
    """

    count: int
    mean: Float64[Tensor, " d_in"]
    squared_deviation: Float64[Tensor, " d_in"]

    @classmethod
    def of(cls, vectors: Float64[Tensor, "tokens d_in"]) -> "Moments":
        """Moments of at least one vector, computed on its device and kept on the CPU."""
        mean = vectors.mean(0)
        return cls(len(vectors), mean.cpu(), (vectors - mean).square().sum(0).cpu())

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = apart.square() * (self.count * other.count / count)
        return type(self)(count, mean, self.squared_deviation + other.squared_deviation + between)

    @property
    def variance(self) -> float:
        """Mean squared distance to the mean, summed over dimensions."""
        return float(self.squared_deviation.sum()) / self.count

    @property
    def mean_square(self) -> float:
        """Mean squared norm."""
        return self.variance + float(self.mean.square().sum())


def explained_variance(x: Moments, error: Moments) -> float:
    """`1 - Var(x_hat - x) / Var(x)`; `error` holds the moments of `x_hat - x`."""
    return 1 - error.variance / x.variance


def explained_variance_by_dimension(x: Moments, error: Moments) -> float:
    """The mean over dimensions that vary of each one's own explained variance; `error` as there."""
    varies = x.squared_deviation > 0
    return 1 - float((error.squared_deviation[varies] / x.squared_deviation[varies]).mean())


@dataclass(frozen=True)
class Activity:
    """How often the features of an SAE were active.

    Attributes:
        tokens: Number of tokens looked at.
        active: Tokens on which each feature was active.
    """

    tokens: int
    active: Int64[Tensor, " d_sae"]

    @classmethod
    def of(cls, active: Bool[Tensor, "tokens d_sae"]) -> "Activity":
        """Activity on a batch of tokens, counted on its device and kept on the CPU."""
        return cls(len(active), active.sum(0).cpu())

    def __add__(self, other: "Activity") -> "Activity":
        return type(self)(self.tokens + other.tokens, self.active + other.active)

    @property
    def l0(self) -> float:
        """Mean number of active features on a token."""
        return float(self.active.sum()) / self.tokens
