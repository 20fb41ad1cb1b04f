"""Features whose vectors are equal, taken together, and what joins them: a row or column that counts several times.

Dead features are often all alike. Each of them finds a partner at the same cost as any other, so that the
shortest path to the next free one leads by way of all the others. Taken together they are one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from sae_match.matching.cost import FeatureVectors

# Squared lengths of equal vectors differ by rounding at most, whatever order they are summed in.
_AS_LONG = 1e-9


@dataclass(frozen=True, eq=False)
class Classes:
    """One side's features, those with equal vectors taken together.

    Attributes:
        vectors: One vector a class, in the order of their first features.
        index: Class of each feature.
        sizes: Features of each class.
    """

    vectors: FeatureVectors
    index: Int64[np.ndarray, " n"]
    sizes: Int64[np.ndarray, " classes"]

    @classmethod
    def single(cls, vectors: FeatureVectors) -> "Classes":
        """Every feature is a class of its own."""
        n = len(vectors)
        return cls(vectors, np.arange(n), np.ones(n, dtype=np.int64))

    @classmethod
    def of_equal(cls, vectors: FeatureVectors) -> "Classes":
        """Features with equal vectors are one class."""
        suspects = _as_long_as_another(vectors)
        if len(suspects) == 0:
            return cls.single(vectors)
        first = np.arange(len(vectors))
        first[suspects] = _first_equal(vectors, suspects)
        representatives, index, sizes = np.unique(first, return_inverse=True, return_counts=True)
        keep = torch.zeros(len(vectors), dtype=torch.bool)
        keep[torch.from_numpy(representatives)] = True
        return cls(vectors.selected(keep), index.reshape(-1), sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def are_single(self) -> bool:
        """Whether no two features are equal."""
        return len(self.sizes) == len(self.index)

    @property
    def spared(self) -> float:
        """Share of the features that another one stands for."""
        return 1 - len(self.sizes) / len(self.index)

    def members(self, classes: Int64[np.ndarray, " slots"]) -> Int64[np.ndarray, " slots"]:
        """Features of classes that are listed, no feature twice: the k-th time a class comes, its k-th feature.

        Args:
            classes: None of them more often than it has features.
        """
        features = np.argsort(self.index, kind="stable")
        order = np.argsort(classes, kind="stable")
        times = np.arange(len(classes)) - np.searchsorted(classes[order], classes[order])
        starts = np.cumsum(self.sizes) - self.sizes
        chosen = np.empty(len(classes), dtype=np.int64)
        chosen[order] = features[starts[classes[order]] + times]
        return chosen


@dataclass(frozen=True, eq=False)
class Flow:
    """Which rows have which columns, and how many of each.

    Attributes:
        rows: Sorted; every row is there.
        columns: Those of a row sorted; no pair is there twice.
        amounts: Features that each pair joins; at least one.
        capacity: Features that each column stands for.
    """

    rows: Int64[np.ndarray, " pairs"]
    columns: Int64[np.ndarray, " pairs"]
    amounts: Int64[np.ndarray, " pairs"]
    capacity: Int64[np.ndarray, " n_columns"]

    @classmethod
    def single(cls, partner: Int64[np.ndarray, " n_rows"], n_columns: int) -> "Flow":
        """Every row has one column of its own."""
        ones = np.ones(n_columns, dtype=np.int64)
        return cls(np.arange(len(partner)), partner, ones[: len(partner)], ones)

    @classmethod
    def of_slots(
        cls,
        rows: Int64[np.ndarray, " slots"],
        columns: Int64[np.ndarray, " slots"],
        capacity: Int64[np.ndarray, " n_columns"],
    ) -> "Flow":
        """From single features that are joined: the row and the column of each."""
        keys, amounts = np.unique(rows * len(capacity) + columns, return_counts=True)
        return cls(keys // len(capacity), keys % len(capacity), amounts, capacity)

    @property
    def supply(self) -> Int64[np.ndarray, " n_rows"]:
        """Features that each row stands for."""
        return np.add.reduceat(self.amounts, np.flatnonzero(np.diff(self.rows, prepend=-1)))

    @property
    def free(self) -> Int64[np.ndarray, " n_columns"]:
        """How many of each column's features have no row."""
        return self.capacity - np.bincount(self.columns, self.amounts, len(self.capacity)).astype(np.int64)


def together(sides: tuple[FeatureVectors, FeatureVectors], least: float) -> tuple[Classes, Classes]:
    """Two sides' features, equal ones together, if on one side at least a share of them is equal to another one."""
    left, right = (Classes.of_equal(side) for side in sides)
    if max(left.spared, right.spared) < least:
        return Classes.single(sides[0]), Classes.single(sides[1])
    return left, right


def _as_long_as_another(vectors: FeatureVectors) -> Int64[np.ndarray, " suspects"]:
    """Features that have the length of another one, or nearly."""
    squares = vectors.squares.cpu().numpy()
    order = np.argsort(squares)
    lengths = squares[order]
    near = np.diff(lengths) <= _AS_LONG * lengths[1:]
    return np.sort(order[np.append(near, False) | np.insert(near, 0, False)])


def _first_equal(vectors: FeatureVectors, some: Int64[np.ndarray, " some"]) -> Int64[np.ndarray, " some"]:
    """The first of some features whose vector each one's is equal to."""
    at = torch.from_numpy(some).to(vectors.factors[0].device)
    _, group = np.unique(_hashes(vectors, at), return_inverse=True)
    group = group.reshape(-1)
    first = np.full(int(group.max()) + 1, len(some))
    np.minimum.at(first, group, np.arange(len(some)))
    found = some[first[group]]
    # Two vectors may have the same hash by chance; then the second stands for itself.
    return np.where(_equal(vectors, some, found), found, some)


def _hashes(vectors: FeatureVectors, at: Int64[Tensor, " some"]) -> Int64[np.ndarray, " some"]:
    """A number for each vector, of its bits: sums of integers, which no order of summation changes."""
    generator = torch.Generator().manual_seed(0)
    factors = (torch.randint(-(2**62), 2**62, (vectors.width,), generator=generator) * 2 + 1).to(at.device)
    # Zero has two signs and is one number.
    sums = [((vectors.rows(rows) + 0.0).view(torch.int64) * factors).sum(1) for rows in _blocks(vectors, at)]
    return torch.cat(sums).cpu().numpy()


def _equal(
    vectors: FeatureVectors, some: Int64[np.ndarray, " some"], others: Int64[np.ndarray, " some"]
) -> Bool[np.ndarray, " some"]:
    device = vectors.factors[0].device
    sides = [_blocks(vectors, torch.from_numpy(side).to(device)) for side in (some, others)]
    same = [(vectors.rows(one) == vectors.rows(other)).all(1) for one, other in zip(*sides, strict=True)]
    return torch.cat(same).cpu().numpy()


def _blocks(vectors: FeatureVectors, at: Int64[Tensor, " some"]) -> list[Int64[Tensor, " few"]]:
    size = next(vectors.row_slices())
    return list(at.split(size.stop - size.start))
