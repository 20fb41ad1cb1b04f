"""What a matching is compared with: what needs no search, what chance gives, and what text gives.

By position, by chance, by distance without one-to-one; the same dictionary rotated, which shares
nothing but its shape; and the one-to-one matching that maximises co-activation on given text, a
data-driven rival of matching by weights.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int64
from scipy.sparse import csr_array
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.arithmetic import blocks
from sae_match.matching.cost import TERMS, FeatureVectors, Metric, feature_vectors, term_weights
from sae_match.matching.result import Matching, among_all, mask_notes
from sae_match.matching.settings import said_terms
from sae_match.matching.solver.assignment import CandidatePairs, SparseAssignment
from sae_match.matching.solver.centre import about_centre
from sae_match.matching.solver.pair_costs import pair_costs
from sae_match.matching.tuning import TUNING
from sae_match.saes.folding import Fold
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch


@plain_torch()
def identity(source: SAE, n_target: int | None = None) -> Matching:
    """Feature `i` is feature `i`: the paper's "vanilla", and what fine-tuning one SAE from another leaves.

    Args:
        source: Whose features are sent.
        n_target: Features of the target, if it has another number; beyond them there is no partner.
    """
    features = torch.arange(source.d_sae)
    return _without_cost(features if n_target is None else _within(features, n_target), "identity")


@plain_torch()
def random(source: SAE, n_target: int | None = None, *, seed: int) -> Matching:
    """A permutation drawn uniformly; where the target has another number of features, a one-to-one matching.

    Args:
        source: Whose features are sent.
        n_target: Features of the target, if it has another number.
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    width = source.d_sae if n_target is None else n_target
    drawn = torch.randperm(max(source.d_sae, width), generator=generator)[: source.d_sae]
    return _without_cost(_within(drawn, width), f"random, seed {seed}")


def rotated(sae: SAE, seed: int) -> SAE:
    """The same dictionary in a randomly rotated activation space: the null of a matching.

    Every angle and distance within the dictionary stays, everything that it shares with another is
    lost. Matching against it shows what the search for partners alone brings.
    """
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(sae.d_in, sae.d_in, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    # The signs make the rotation uniform (Haar); QR alone favours some.
    rotation = (q * r.diagonal().sign()).to(sae.W_dec)
    return replace(sae, W_enc=rotation.T @ sae.W_enc, W_dec=sae.W_dec @ rotation, b_dec=sae.b_dec @ rotation)


@plain_torch()
def nearest(
    source: SAE,
    target: SAE,
    *,
    fold: Fold = "threshold",
    terms: Sequence[str] | Mapping[str, float] = TERMS,
    metric: Metric = "mse",
    source_mask: Bool[Tensor, " n_source"] | None = None,
    target_mask: Bool[Tensor, " n_target"] | None = None,
) -> Matching:
    """Every source feature goes to its nearest target feature, whoever else goes there.

    Its cost is below that of every one-to-one matching, by as much as one-to-one costs. The arguments are those of
    `match`.

    Raises:
        UserError: If the SAEs do not fit each other, cannot be folded, or are not finite.
    """
    if source.d_in != target.d_in:
        raise UserError(f"the source reads activations of width {source.d_in}, the target of width {target.d_in}")
    weights = term_weights(terms)
    rows, columns = (
        feature_vectors(sae, fold=fold, terms=weights, metric=metric, keep=mask)
        for sae, mask in ((source, source_mask), (target, target_mask))
    )
    permutation = _nearest_columns(rows, columns)
    costs = pair_costs(rows, columns, permutation)
    found = Matching(
        permutation.cpu(),
        costs,
        lower_bound=-math.inf,
        provenance={
            "solver": "nearest",
            "fold": fold,
            "terms": said_terms(weights),
            "metric": metric,
            "source": source.content_hash(),
            "target": target.content_hash(),
            **mask_notes(source_mask=source_mask, target_mask=target_mask),
        },
        one_to_one=False,
    )
    return among_all(found, source_mask, target_mask)


def without(
    matching: Matching, source_mask: Bool[Tensor, " n_source"] | None, target_mask: Bool[Tensor, " n_target"] | None
) -> Matching:
    """The same matching without the pairs of features that take no part."""
    keep = matching.permutation >= 0
    if source_mask is not None:
        keep &= source_mask.cpu()
    if target_mask is not None:
        keep &= target_mask.cpu()[matching.permutation.clamp_min(0)]
    return replace(
        matching,
        permutation=torch.where(keep, matching.permutation, -1),
        pair_cost=torch.where(keep, matching.pair_cost, torch.nan),
    )


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


def _nearest_columns(source: FeatureVectors, target: FeatureVectors) -> Int64[Tensor, " n_source"]:
    """Index of each source vector's nearest target vector, in blocks of float64 products."""
    left, right = about_centre(source, target)
    columns, found = right.rows(slice(None)), []
    for block in blocks(len(source), TUNING.vector_rows):
        rows = left.rows(block)
        found.append(torch.addmm(right.squares, rows, columns.T, alpha=-2).argmin(1))
    return torch.cat(found)


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
    assignment = SparseAssignment.unstarted(pairs, n_source)
    assignment.solve(pairs)
    return np.where(assignment.partner < n_target, assignment.partner, -1)


def _within(partner: Int64[Tensor, " n_source"], n_target: int) -> Int64[Tensor, " n_source"]:
    """Partners that the target has; -1 for the others."""
    return torch.where(partner < n_target, partner, -1)


def _without_cost(permutation: Tensor, solver: str) -> Matching:
    unknown = torch.full((len(permutation),), torch.nan, dtype=torch.float64)
    return Matching(permutation, unknown, provenance={"solver": solver})
