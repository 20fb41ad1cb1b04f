"""Uncertainty of statements about features: intervals over features, as drawn from all that such SAEs could have.

The replicates are those of `sae_match.bootstrap`, with features in the place of documents: each counts every feature as
often as a Poisson variable of mean one says.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from sae_match.bootstrap import REPLICATES, ROWS, interval

# Features whose weights are drawn at one time.
_BLOCK = 4096
# Of the normal distribution: within so many deviations lie 95 %.
_DEVIATIONS = 1.959964
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A number, and the ends of its 95 % interval; none where there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, rows: Float64[Tensor, " rows"]) -> "Estimate":
        """From the number of the sample and those of the replicates."""
        value = float(rows[0])
        ends = interval(rows) if math.isfinite(value) else None
        # Replicates of a single feature differ by rounding at most.
        if ends is None or ends[1] - ends[0] <= _ROUNDING * max(abs(end) for end in ends):
            return cls(value)
        return cls(value, *ends)


Measured = tuple[Float64[Tensor, " n"], Bool[Tensor, " n"]]
"""A value of each feature, and the features that a mean is taken over."""


@dataclass(frozen=True)
class Sums:
    """Sums over features, for the sample and for each replicate.

    Attributes:
        total: Of values.
        count: Of features.
    """

    total: Float64[Tensor, " rows"]
    count: Float64[Tensor, " rows"]

    @property
    def mean(self) -> Float64[Tensor, " rows"]:
        """Mean value; nan over no feature."""
        return self.total / self.count

    def __add__(self, other: "Sums") -> "Sums":
        """Over the features of both."""
        return Sums(self.total + other.total, self.count + other.count)


def sums_over_features(measured: Mapping[str, Measured], population: str, seed: int) -> dict[str, Sums]:
    """Sums of each over its features.

    Args:
        measured: By name, all of the same features; a value may be nan where it plays no part.
        population: What the features belong to: those of another one have other weights.
        seed: Of all draws.
    """
    if not measured:
        return {}
    parts = [where.double() for _, where in measured.values()]
    values = [torch.where(where, value, 0.0).double() for value, where in measured.values()]
    columns = torch.stack([*values, *parts], dim=1)
    sums = torch.zeros(ROWS, columns.shape[1], dtype=torch.float64)
    sums[0] = columns.sum(0)
    digest = hashlib.sha256(f"{seed} {population} features".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    for block in columns.split(_BLOCK):
        sums[1:] += torch.from_numpy(generator.poisson(1.0, (REPLICATES, len(block)))).double() @ block
    totals, counts = sums.split(len(measured), dim=1)
    return {name: Sums(totals[:, at], counts[:, at]) for at, name in enumerate(measured)}


def share_over_features(share: float, features: int, population: str, seed: int) -> Estimate:
    """A share of so many features with its interval; nan of none."""
    if not features:
        return Estimate(math.nan)
    holds = (torch.arange(features) < round(share * features)).double()
    every = torch.ones(features, dtype=torch.bool)
    return Estimate.of(sums_over_features({"share": (holds, every)}, population, seed)["share"].mean)


def median_over_features(values: Float64[Tensor, " n"]) -> Estimate:
    """Median of known values, with the interval that order statistics give; nan of none."""
    known = values[~values.isnan()].sort().values
    if not len(known):
        return Estimate(math.nan)
    half = 0.5 * _DEVIATIONS * math.sqrt(len(known))
    low, high = math.floor(len(known) / 2 - half), math.ceil(len(known) / 2 + half)
    middle = float(known.quantile(0.5)) if len(known) < _BLOCK else float(known[len(known) // 2])
    if low < 0 or high > len(known) - 1:
        return Estimate(middle)
    return Estimate(middle, float(known[low]), float(known[high]))
