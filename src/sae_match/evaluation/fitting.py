"""What is fitted on text that is never evaluated: affine maps, and which features are active together."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int32, Int64
from scipy.sparse import csr_array, vstack
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.statistics.streaming import CPU, Active, counted
from sae_match.matching.baselines import coactivations
from sae_match.matching.solver.planning import free_memory

Pair = tuple[int, int]

# Share of the largest variance below which a direction counts as one without variance.
_NO_VARIANCE = 1e-10

# Of co-activations on a GPU: tokens of a product, the share of free memory for their counts, and what a count takes
# beside itself while a block is made sparse.
_TOKENS_AT_ONCE = 8192
_SHARE_OF_COUNTS, _COUNT_BYTES = 0.25, 4 + 4


Moments = tuple[
    Float64[Tensor, " d_in"], Float64[Tensor, " d_out"], Float64[Tensor, "d_in d_in"], Float64[Tensor, "d_in d_out"]
]


@dataclass(frozen=True)
class LinearMap:
    """An affine map `x -> x W + b`.

    Attributes:
        weight: `W`.
        bias: `b`.
    """

    weight: Float[Tensor, "d_in d_out"]
    bias: Float[Tensor, " d_out"]

    def __call__(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_out"]:
        """The mapped vectors."""
        return x @ self.weight + self.bias


class LeastSquares:
    """Sums from which the affine map between two layers follows; products about a point near the means.

    Args:
        x: First tokens of the source layer: their mean is the point.
        y: The same tokens of the target layer.
    """

    def __init__(self, x: Float[Tensor, "tokens d_in"], y: Float[Tensor, "tokens d_out"]) -> None:
        self._x_centre, self._y_centre = x.mean(0), y.mean(0)
        self.count = 0
        self._x_sum, self._y_sum = torch.zeros_like(self._x_centre).double(), torch.zeros_like(self._y_centre).double()
        self._squares = self._x_sum.new_zeros(x.shape[1], x.shape[1])
        self._products = self._x_sum.new_zeros(x.shape[1], y.shape[1])

    def add(self, x: Float[Tensor, "tokens d_in"], y: Float[Tensor, "tokens d_out"]) -> None:
        """Add a batch of tokens."""
        x, y = (x - self._x_centre).double(), (y - self._y_centre).double()
        self.count += len(x)
        self._x_sum += x.sum(0)
        self._y_sum += y.sum(0)
        self._squares += x.T @ x
        self._products += x.T @ y

    def flat(self) -> Float64[Tensor, " entries"]:
        """All that was added, in one vector on the CPU."""
        parts = (self._x_centre, self._y_centre, self._x_sum, self._y_sum, self._squares, self._products)
        return torch.cat([torch.tensor([self.count]), *(part.double().cpu().flatten() for part in parts)])

    @classmethod
    def filled(cls, flat: Float64[Tensor, " entries"], d_in: int, d_out: int, device: torch.device) -> "LeastSquares":
        """The sums that `flat` gave.

        Args:
            flat: Of two layers.
            d_in: Width of the first.
            d_out: Width of the second.
            device: Where they go on.
        """
        count, *parts = flat.to(device).split([1, d_in, d_out, d_in, d_out, d_in * d_in, d_in * d_out])
        # One token at each centre, which they are the means of.
        sums = cls(parts[0].float()[None], parts[1].float()[None])
        sums.count, sums._x_sum, sums._y_sum = int(count), parts[2].clone(), parts[3].clone()
        sums._squares, sums._products = (part.reshape(d_in, -1).clone() for part in parts[4:])
        return sums

    def solution(self) -> LinearMap:
        """The map with the least squared error; of several, the one with the smallest weights.

        Raises:
            UserError: If there are fewer tokens than dimensions.
        """
        x_mean, y_mean, covariance, cross = self.moments()
        weight = _least_squares(covariance, cross)
        bias = y_mean - x_mean @ weight
        return LinearMap(weight.to(self._x_centre.dtype), bias.to(self._x_centre.dtype))

    def moments(self) -> Moments:
        """Means of both, covariance of the first, and of the first with the second.

        Raises:
            UserError: If there are fewer tokens than dimensions.
        """
        refuse_too_few(self.count, len(self._x_sum))
        x_mean, y_mean = self._x_sum / self.count, self._y_sum / self.count
        covariance = self._squares / self.count - torch.outer(x_mean, x_mean)
        cross = self._products / self.count - torch.outer(x_mean, y_mean)
        return x_mean + self._x_centre.double(), y_mean + self._y_centre.double(), covariance, cross


class MeanVector:
    """The mean of tokens that come in batches, summed in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Tensor | None = None

    def add(self, x: Float[Tensor, "tokens d_in"]) -> None:
        """Add a batch of tokens."""
        total = x.sum(0, dtype=torch.float64)
        self.count += len(x)
        self._sum = total if self._sum is None else self._sum + total

    def flat(self, d_in: int) -> Float64[Tensor, " entries"]:
        """All that was added, in one vector on the CPU."""
        total = torch.zeros(d_in, dtype=torch.float64) if self._sum is None else self._sum.cpu()
        return torch.cat([torch.tensor([self.count]), total])

    @classmethod
    def filled(cls, flat: Float64[Tensor, " entries"], device: torch.device) -> "MeanVector":
        """The sum that `flat` gave."""
        mean = cls()
        if flat[0]:
            mean.count, mean._sum = int(flat[0]), flat[1:].to(device)
        return mean

    def solution(self) -> Float[Tensor, " d_in"]:
        """The mean, float32.

        Raises:
            UserError: If there was no token.
        """
        if self._sum is None or not self.count:
            raise UserError("a mean needs at least one token of fitting text; raise evaluation.fitting_documents")
        return (self._sum / self.count).float()


def _least_squares(
    covariance: Float64[Tensor, "d_in d_in"], cross: Float64[Tensor, "d_in d_out"]
) -> Float64[Tensor, "d_in d_out"]:
    """Weights of the least squared error, zero along directions without variance, found where the sums are."""
    variances, directions = torch.linalg.eigh(covariance)
    kept = variances > _NO_VARIANCE * variances[-1].clamp_min(0)
    directions = directions[:, kept]
    weight: Tensor = directions @ ((directions.T @ cross) / variances[kept, None])
    return weight


def refuse_too_few(tokens: int, d_in: int) -> None:
    """Check that a linear map has more tokens than dimensions to be fitted on.

    Raises:
        UserError: If it has not.
    """
    if tokens <= d_in:
        raise UserError(
            f"a linear map of {d_in} dimensions needs more than {tokens} tokens of fitting text; "
            "raise evaluation.fitting_documents"
        )


class ActivityRecord:
    """Which features of a layer were active on which tokens: 4 bytes for each time that one was, on their device."""

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self._features: list[Int32[Tensor, " entries"]] = []
        self._counts: list[Int64[Tensor, " tokens"]] = []

    def add(self, active: Active) -> None:
        """Add the tokens of a batch."""
        self._features.append(active.feature.int())
        self._counts.append(counted(active.token, active.tokens).long())

    @property
    def tokens(self) -> int:
        """Tokens that there are."""
        return sum(map(len, self._counts))

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._counts[0].device if self._counts else CPU

    def flat(self) -> Float64[Tensor, " entries"]:
        """All that was added, in one vector on the CPU: how many tokens and entries, then these."""
        sizes = torch.tensor([self.tokens, sum(map(len, self._features))], dtype=torch.float64)
        return torch.cat([sizes, *(part.double().cpu() for part in (*self._counts, *self._features))])

    @classmethod
    def filled(
        cls, flat: Float64[Tensor, " entries"], n_features: int, device: torch.device
    ) -> tuple["ActivityRecord", Float64[Tensor, " rest"]]:
        """The record that `flat` gave, on a device, and what stands behind it.

        Raises:
            ValueError: If `flat` cannot have given it.
        """
        record, sizes = cls(n_features), flat[:2].long().tolist()
        if len(sizes) < 2 or min(sizes) < 0 or sum(sizes) > len(flat) - 2:
            raise ValueError("its record of active features is cut off")
        counts, features, rest = flat[2:].split([*sizes, len(flat) - 2 - sum(sizes)])
        if counts.sum() != len(features) or not ((features >= 0) & (features < n_features)).all():
            raise ValueError(f"its active features must lie in 0 … {n_features - 1}")
        record._counts, record._features = [counts.long().to(device)], [features.int().to(device)]
        return record, rest

    def matrix(self) -> csr_array:
        """`[tokens, n_features]`, one where a feature was active."""
        # Of a process that has none of the text, too.
        nothing = torch.zeros(0, dtype=torch.int64)
        joined = (torch.cat(each) if each else nothing for each in (self._counts, self._features))
        counts, features = (each.cpu().numpy() for each in joined)
        starts = np.concatenate([[0], np.cumsum(counts)])
        return csr_array((np.ones(len(features), np.int32), features, starts), shape=(len(counts), self.n_features))

    def rows(self, start: int, stop: int) -> Float[Tensor, "tokens n_features"]:
        """Some of the same as ones and zeros, on their device."""
        counts = torch.cat(self._counts)
        before = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        first, last = before[[start, stop]].tolist()
        token = torch.repeat_interleave(counts[start:stop], output_size=last - first)
        ones = torch.zeros(stop - start, self.n_features, dtype=torch.float32, device=counts.device)
        ones[token, torch.cat(self._features)[first:last].long()] = 1
        return ones


def together(source: ActivityRecord, target: ActivityRecord) -> csr_array:
    """Tokens on which a source feature and a target feature were both active, for all pairs that ever were.

    A GPU multiplies matrices of ones and zeros faster than a CPU goes through lists; a CPU does not.

    Args:
        source: Activity of the source layer.
        target: Of the target layer, on the same tokens and the same device.

    Returns:
        `[n_source, n_target]`, int32, sparse, on the host, where it is matched by.
    """
    device = source.device
    if device.type == "cpu":
        return coactivations(source.matrix(), target.matrix())
    return by_products(source, target, int(_SHARE_OF_COUNTS * free_memory(device)))


def by_products(source: ActivityRecord, target: ActivityRecord, budget: int) -> csr_array:
    """The same by products of ones and zeros, in blocks of source features and of tokens.

    Sums of ones are exact in float32, however coarse products are, up to 2^24 tokens.

    Args:
        source: As in `together`.
        target: As there.
        budget: Bytes that counts may take.
    """
    height = max(1, min(source.n_features, budget // (_COUNT_BYTES * target.n_features)))
    blocks = []
    for top in range(0, source.n_features, height):
        features = slice(top, min(top + height, source.n_features))
        counts = torch.zeros(features.stop - top, target.n_features, dtype=torch.float32, device=source.device)
        for start in range(0, source.tokens, _TOKENS_AT_ONCE):
            stop = min(start + _TOKENS_AT_ONCE, source.tokens)
            counts.addmm_(source.rows(start, stop)[:, features].T, target.rows(start, stop))
        row, column = counts.nonzero(as_tuple=True)
        starts = torch.cat([row.new_zeros(1), counted(row, len(counts)).long().cumsum(0)])
        parts = (counts[row, column].int(), column, starts)
        blocks.append(csr_array(tuple(part.cpu().numpy() for part in parts), shape=tuple(counts.shape)))
    return csr_array(vstack(blocks, format="csr"))


def refuse_common_documents(fitting: Iterable[str], evaluation: Iterable[str]) -> None:
    """Check that no document is fitted on and evaluated.

    Raises:
        UserError: If one is; names it.
    """
    common = set(fitting) & set(evaluation)
    if common:
        raise UserError(
            f"{len(common)} documents are in the fitting text and in the evaluated text, {min(common)} among them"
        )
