"""Whether drift goes with what features prefer, against the same preferences dealt out anew."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from scipy.stats import rankdata
from torch import Tensor

from sae_match.bootstrap import REPLICATES
from sae_match.evaluation.significance.over_features import Estimate

# Preferences are dealt out anew among features that are about as often active.
_STRATA = 10


def associations(
    what: str,
    drifts: Sequence[Float64[Tensor, " pairs"]],
    preferences: Sequence[Float64[Tensor, " pairs"]],
    counted: Sequence[Bool[Tensor, " pairs"]],
    activity: Float64[Tensor, " pairs"],
    population: str,
    seed: int,
) -> dict[str, Estimate]:
    """How drift goes with preference, as means over the ways to part the documents.

    `…_difference` is the mean drift of features that prefer the first text less that of the others, `…_correlation` the
    rank correlation, each with a 95 % interval over features; `…_permuted` is the middle, and the middle 95 %, of the
    same with preferences dealt out anew among features that are about as often active.

    Args:
        what: Of which drift.
        drifts: For each way to part the documents.
        preferences: Measured on the other documents.
        counted: Features that count.
        activity: How often each feature is active.
        population: Of the features.
        seed: Of all draws.
    """
    digest = hashlib.sha256(f"{seed} {population} association".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    sides = [(d.numpy(), p.numpy(), c.numpy()) for d, p, c in zip(drifts, preferences, counted, strict=True)]
    own = [_Compared.of(*side) for side in sides]
    # A feature that does not count has a preference that says nothing: it is not dealt to one that does.
    strata = [_strata(activity.numpy(), counts) for _, _, counts in sides]

    def dealt_anew() -> list[_Compared]:
        rows = zip(sides, strata, strict=True)
        return [_Compared.of(drift, prefers[_dealt(of, generator)], counts) for (drift, prefers, counts), of in rows]

    ones = np.ones(len(activity))
    draws = (generator.poisson(1.0, len(activity)).astype(float) for _ in range(REPLICATES))
    rows = [_mean(own, weights) for weights in (ones, *draws)]
    permuted = [_mean(dealt_anew(), ones) for _ in range(REPLICATES // 5)]
    found = {}
    for at, name in enumerate(("difference", "correlation")):
        values = torch.tensor([row[at] for row in rows], dtype=torch.float64)
        found[f"{what}_{name}"] = Estimate.of(values)
        null = np.array([row[at] for row in permuted])
        if np.isfinite(null).all():
            low, middle, high = np.percentile(null, (2.5, 50, 97.5))
            found[f"{what}_{name}_permuted"] = Estimate(float(middle), float(low), float(high))
    return {name: one for name, one in found.items() if math.isfinite(one.value)}


def _strata(activity: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Tenths, by activity, of the features that count; -1 of the others."""
    index = np.flatnonzero(counts)
    strata = np.full(len(activity), -1)
    strata[index[np.argsort(activity[index], kind="stable")]] = np.arange(len(index)) * _STRATA // max(1, len(index))
    return strata


def _dealt(strata: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Features in another order, within strata."""
    dealt = np.arange(len(strata))
    for one in range(_STRATA):
        where = np.flatnonzero(strata == one)
        dealt[where] = generator.permutation(where)
    return dealt


@dataclass(frozen=True, eq=False)
class _Compared:
    """Drift beside preference, of the features that count.

    Attributes:
        kept: Which these are.
        drift: Of each.
        more: Whether each prefers the first text.
        ranks: Of drift and of preference; the middle rank of those that are equal.
    """

    kept: np.ndarray
    drift: np.ndarray
    more: np.ndarray
    ranks: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, drift: np.ndarray, prefers: np.ndarray, counted: np.ndarray) -> "_Compared":
        kept = counted & np.isfinite(drift)
        return cls(kept, drift[kept], prefers[kept] > 0, (rankdata(drift[kept]), rankdata(prefers[kept])))

    def measured(self, weights: np.ndarray) -> tuple[float, float]:
        """Difference of means, and rank correlation, with features counted so many times."""
        weights, more = weights[self.kept], self.more
        over, under = weights[more].sum(), weights[~more].sum()
        if not over or not under:
            return math.nan, math.nan
        difference = (weights[more] @ self.drift[more]) / over - (weights[~more] @ self.drift[~more]) / under
        x, y = (ranks - weights @ ranks / weights.sum() for ranks in self.ranks)
        scale = math.sqrt((weights @ x**2) * (weights @ y**2))
        return float(difference), float(weights @ (x * y) / scale) if scale else math.nan


def _mean(parts: Sequence[_Compared], weights: np.ndarray) -> tuple[float, float]:
    """Means over the ways to part the documents."""
    difference, correlation = np.mean([one.measured(weights) for one in parts], axis=0)
    return float(difference), float(correlation)
