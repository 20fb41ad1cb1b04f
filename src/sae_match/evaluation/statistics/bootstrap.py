"""Uncertainty over documents, in one pass and in memory that does not grow with their number.

The bootstrap draws documents with replacement. Here each of its replicates counts every document as
often as a Poisson variable of mean one says (Hanley and MacGibbon 2006; Chamandy et al. 2012), which
needs no list of documents: weights are drawn as documents come, from the document's own number, so
that they are the same in whatever order and on however many processes documents are seen.
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


def document_weights(dataset: str, documents: Sequence[int], seed: int) -> Float64[Tensor, "rows documents"]:
    """How often each row counts each document: once in the first, at random in the replicates.

    Args:
        dataset: Dataset that the documents belong to.
        documents: Their numbers in it.
        seed: Of all draws.
    """
    weights = np.ones((ROWS, len(documents)))
    for column, document in enumerate(documents):
        digest = hashlib.sha256(f"{seed} {document} {dataset}".encode()).digest()
        weights[1:, column] = np.random.default_rng(int.from_bytes(digest[:8], "big")).poisson(1.0, REPLICATES)
    return torch.from_numpy(weights)


def interval(values: Float64[Tensor, " rows"]) -> tuple[float, float] | None:
    """Middle 95 % of the replicates of a number; none if they do not exist or do not differ."""
    replicates = values[1:][torch.isfinite(values[1:])].numpy()
    if len(replicates) < REPLICATES // 2 or np.ptp(replicates) == 0:
        return None
    low, high = np.percentile(replicates, _PERCENTILES)
    return float(low), float(high)
