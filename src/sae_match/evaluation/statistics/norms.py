"""Which tokens have a residual of extreme norm: a sketch of all norms, and the rule.

A few tokens besides BOS may have a residual that is ten and more times as long as that of all others (Sun et al. 2024,
"Massive activations in large language models"). Variances about them are theirs alone.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sae_match.evaluation.statistics.streaming import counted

#: A token is extreme whose norm is greater than so many times the median: the rule of `dictionary_learning`
#: (`max_activation_norm_multiple`).
EXTREME = 10.0

# Bins of the logarithm of norms: so many for each power of two, from 2^-32 to 2^64. Each is half a percent wide.
_FINE, _LOWEST, _OCTAVES = 128, -32, 96
#: Entries of a sketch.
SKETCH_BINS = _FINE * _OCTAVES


def norms_of(x: Float[Tensor, "tokens d_in"]) -> Float64[Tensor, " tokens"]:
    """Length of each vector, in float64."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=1, dtype=torch.float64)
    return norms


def sketch(norms: Float64[Tensor, " tokens"]) -> Float64[Tensor, " bins"]:
    """How many norms fall into each bin, on their device; sketches of several batches are added entry by entry.

    What lies outside the range is counted in its first or last bin, and so is a norm of zero in the first.
    """
    places = ((norms.log2() - _LOWEST) * _FINE).floor().nan_to_num(SKETCH_BINS - 1).clamp(0, SKETCH_BINS - 1)
    return counted(places.long(), SKETCH_BINS)


def median_of(counts: Float64[Tensor, " bins"]) -> float:
    """Median of the norms that a sketch has counted, to within half a percent; nan where it has counted none.

    It follows from counts alone: it is the same in whatever batches, and on however many processes, tokens came.
    """
    total = float(counts.sum())
    if not total:
        return float("nan")
    before = counts.cumsum(0)
    place = int((before >= total / 2).nonzero()[0])
    inside = (total / 2 - float(before[place] - counts[place])) / float(counts[place])
    return float(2.0 ** ((place + inside) / _FINE + _LOWEST))
