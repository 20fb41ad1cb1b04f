"""The one-to-one matching that maximises co-activation on given text: a data-driven rival of matching by weights."""

import numpy as np
import torch
from scipy.sparse import csr_array

from sae_match.errors import UserError
from sae_match.matching.assignment import SparseAssignment
from sae_match.matching.candidates import CandidatePairs
from sae_match.matching.result import Matching


def coactivations(source: csr_array, target: csr_array) -> csr_array:
    """Tokens on which a source feature and a target feature were both active, for all pairs that ever were.

    Args:
        source: `[tokens, n_source]`, one where a feature was active.
        target: `[tokens, n_target]`, the same tokens.

    Returns:
        `[n_source, n_target]`, int32, sparse: 8 bytes for each pair that was ever active together.
    """
    if source.shape[0] != target.shape[0]:
        raise UserError(f"activity on {source.shape[0]} and on {target.shape[0]} tokens cannot be joined")
    counts = csr_array(source.T.astype(np.int32) @ target.astype(np.int32))
    counts.sort_indices()
    return counts


def match_by_coactivation(counts: csr_array) -> Matching:
    """The matching with the largest sum of co-activations; features that share no token are matched in order.

    The cost of a pair is its number of common tokens, negated.

    Args:
        counts: `[n_source, n_target]`, as `coactivations` gives them.
    """
    n_source, n_target = counts.shape
    partner = _best_partners(counts)
    left, free = np.flatnonzero(partner < 0), np.setdiff1d(np.arange(n_target), partner)
    together = min(len(left), len(free))
    partner[left[:together]] = free[:together]
    paired = partner >= 0
    cost = np.full(n_source, np.nan)
    cost[paired] = -counts[np.flatnonzero(paired), partner[paired]].astype(np.float64)
    return Matching(torch.from_numpy(partner), torch.from_numpy(cost), provenance={"solver": "coactivation"})


def _best_partners(counts: csr_array) -> np.ndarray:
    """Partner of each source feature in the heaviest matching, -1 where the best is to have none.

    Every source feature has a column of its own besides, at no cost, which stands for no partner.
    """
    n_source, n_target = counts.shape
    rows = np.repeat(np.arange(n_source), np.diff(counts.indptr))
    own = np.arange(n_source)
    pairs = CandidatePairs.collected(
        np.concatenate([rows, own]),
        np.concatenate([counts.indices.astype(np.int64), n_target + own]),
        np.concatenate([-counts.data.astype(np.float64), np.zeros(n_source)]),
        np.zeros(counts.nnz + n_source),
        n_target + n_source,
    )
    assignment = SparseAssignment.unstarted(pairs, np.zeros(n_source))
    assignment.solve(pairs)
    return np.where(assignment.partner < n_target, assignment.partner, -1)
