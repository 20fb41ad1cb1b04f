"""Random features that are as often active as given ones: what an overlap has to be compared with."""

import numpy as np
from jaxtyping import Bool, Int64

# How far apart the frequencies of a feature and of one that stands for it may be, and how many features, by rank, to
# either side it is drawn among.
_FACTOR, _REACH = 2.0, 64
#: Fewer features of about the same frequency are too few to draw from.
FEWEST = 4


def as_frequent(
    features: Int64[np.ndarray, " n"],
    counts: Int64[np.ndarray, " features"],
    component: Int64[np.ndarray, " features"],
    allowed: Bool[np.ndarray, " features"],
    draws: int,
    seed: int,
) -> Int64[np.ndarray, "n draws"]:
    """For each of some features, random ones of the same side that are about as often active, and no relatives.

    Args:
        features: For which.
        counts: Tokens on which each feature of the side was active.
        component: Of each feature of the side; those of the same one are not drawn. -1 for none.
        allowed: Features that may be drawn.
        draws: How many for each.
        seed: Of the draws.

    Returns:
        The drawn features; -1 where fewer than `FEWEST` are within a factor of two of a feature's frequency.
    """
    generator = np.random.default_rng(seed)
    pool = np.flatnonzero(allowed & (counts > 0))
    pool = pool[np.argsort(counts[pool], kind="stable")]
    ranked = counts[pool]
    drawn = np.full((len(features), draws), -1, dtype=np.int64)
    for row, feature in enumerate(features.tolist()):
        count = counts[feature]
        if count == 0:
            continue
        low, high = np.searchsorted(ranked, count / _FACTOR, "left"), np.searchsorted(ranked, count * _FACTOR, "right")
        middle = np.searchsorted(ranked, count)
        near = pool[max(low, middle - _REACH) : min(high, middle + _REACH)]
        own = component[feature]
        near = near[(near != feature) & ((component[near] != own) | (own < 0))]
        if len(near) >= FEWEST:
            drawn[row] = generator.choice(near, draws)
    return drawn
