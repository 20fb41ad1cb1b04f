"""Uncertainty over units that are drawn whole: documents of a text, paths of a study.

The bootstrap draws units with replacement. Here each of its replicates counts every unit as often as a
Poisson variable of mean one says (Hanley and MacGibbon 2006; Chamandy et al. 2012), which needs no list
of units: weights are drawn as units come, from the unit's own number, so that they are the same in
whatever order and on however many processes units are seen.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

REPLICATES = 1000
#: Rows of every sum: the sample itself, then its replicates.
ROWS = 1 + REPLICATES

_PERCENTILES = (2.5, 97.5)


def bootstrap_weights(population: str, units: Sequence[int], seed: int) -> Float64[Tensor, "rows units"]:
    """How often each row counts each unit: once in the first, at random in the replicates.

    Args:
        population: What the units belong to, such as a dataset: those of another one have other weights.
        units: Their numbers in it.
        seed: Of all draws.
    """
    weights = np.ones((ROWS, len(units)))
    for column, unit in enumerate(units):
        digest = hashlib.sha256(f"{seed} {unit} {population}".encode()).digest()
        weights[1:, column] = np.random.default_rng(int.from_bytes(digest[:8], "big")).poisson(1.0, REPLICATES)
    return torch.from_numpy(weights)


def interval(values: Float64[Tensor, " rows"]) -> tuple[float, float] | None:
    """Middle 95 % of the replicates of a number; none if they do not exist or do not differ."""
    replicates = values[1:][torch.isfinite(values[1:])].numpy()
    if len(replicates) < REPLICATES // 2 or np.ptp(replicates) == 0:
        return None
    low, high = np.percentile(replicates, _PERCENTILES)
    return float(low), float(high)


def intervals(values: Float64[Tensor, "numbers rows"]) -> list[tuple[float, float] | None]:
    """The interval of each of several numbers; much faster than one by one where all replicates are finite."""
    whole = torch.isfinite(values[:, 1:]).all(1)
    found: list[tuple[float, float] | None] = [None] * len(values)
    if bool(whole.any()):
        replicates = values[whole, 1:].numpy()
        lows, highs = np.percentile(replicates, _PERCENTILES, axis=1)
        of = whole.nonzero()[:, 0].tolist()
        for number, low, high, reach in zip(of, lows, highs, np.ptp(replicates, 1), strict=True):
            found[number] = (float(low), float(high)) if reach > 0 else None
    for number in (~whole).nonzero()[:, 0].tolist():
        found[number] = interval(values[number])
    return found
