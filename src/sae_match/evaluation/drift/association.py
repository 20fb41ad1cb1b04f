"""Whether drift goes with what features prefer, against the same preferences dealt out anew."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float64
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
    sizes = len(activity)
    ones = np.ones(sizes)
    parts = [(d.numpy(), p.numpy(), c.numpy()) for d, p, c in zip(drifts, preferences, counted, strict=True)]
    # A feature that does not count has a preference that says nothing: it is not dealt to one that does.
    strata = [_strata(activity.numpy(), counts) for _, _, counts in parts]

    def both(weights: np.ndarray, dealt: Sequence[np.ndarray | slice]) -> tuple[float, float]:
        rows = zip(parts, dealt, strict=True)
        found = [_measure(drift, prefers[of], counts, weights) for (drift, prefers, counts), of in rows]
        return float(np.mean([one[0] for one in found])), float(np.mean([one[1] for one in found]))

    own = [slice(None)] * len(parts)
    rows = [both(ones, own)] + [both(generator.poisson(1.0, sizes).astype(float), own) for _ in range(REPLICATES)]
    permuted = [both(ones, [_dealt(one, generator) for one in strata]) for _ in range(REPLICATES // 5)]
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


def _measure(drift: np.ndarray, prefers: np.ndarray, counted: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Difference of means, and rank correlation, with features counted so many times."""
    keep = counted & np.isfinite(drift)
    drift, prefers, weights = drift[keep], prefers[keep], weights[keep]
    more = prefers > 0
    over, under = weights[more].sum(), weights[~more].sum()
    if not over or not under:
        return math.nan, math.nan
    difference = (weights[more] @ drift[more]) / over - (weights[~more] @ drift[~more]) / under
    ranks = [np.unique(one, return_inverse=True, return_counts=True)[1:] for one in (drift, prefers)]
    # The middle rank of those that are equal.
    x, y = ((np.cumsum(counts) - (counts - 1) / 2)[inverse] for inverse, counts in ranks)
    total = weights.sum()
    x, y = x - weights @ x / total, y - weights @ y / total
    scale = math.sqrt((weights @ x**2) * (weights @ y**2))
    return float(difference), float(weights @ (x * y) / scale) if scale else math.nan
