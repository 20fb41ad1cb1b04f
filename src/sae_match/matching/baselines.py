"""Matchings to compare with: by position, by chance, and by distance without one-to-one."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.centre import about_centre
from sae_match.matching.cost import (
    TERMS,
    FeatureVectors,
    Metric,
    feature_vectors,
    term_weights,
)
from sae_match.matching.pair_costs import pair_costs
from sae_match.matching.result import Matching
from sae_match.saes.folding import Fold
from sae_match.saes.sae import SAE

_ROWS_PER_BLOCK = 512


def identity(source: SAE) -> Matching:
    """Feature `i` is feature `i`: the paper's "vanilla"."""
    return _without_cost(torch.arange(source.d_sae), "identity")


def random(source: SAE, *, seed: int) -> Matching:
    """A permutation drawn uniformly."""
    generator = torch.Generator().manual_seed(seed)
    return _without_cost(torch.randperm(source.d_sae, generator=generator), f"random, seed {seed}")


def nearest(
    source: SAE,
    target: SAE,
    *,
    fold: Fold = "threshold",
    terms: Sequence[str] | Mapping[str, float] = TERMS,
    metric: Metric = "mse",
) -> Matching:
    """Every source feature goes to its nearest target feature, whoever else goes there.

    Its cost is below that of every one-to-one matching, by as much as one-to-one costs.

    Raises:
        UserError: If the SAEs do not fit each other, cannot be folded, or are not finite.
    """
    if source.d_in != target.d_in:
        raise UserError(f"the source reads activations of width {source.d_in}, the target of width {target.d_in}")
    weights = term_weights(terms)
    rows, columns = (feature_vectors(sae, fold=fold, terms=weights, metric=metric) for sae in (source, target))
    permutation = _nearest_columns(rows, columns)
    costs = pair_costs(rows, columns, permutation)
    return Matching(
        permutation.cpu(),
        costs,
        lower_bound=-math.inf,
        provenance={
            "solver": "nearest",
            "fold": fold,
            "metric": metric,
            "source": source.content_hash(),
            "target": target.content_hash(),
        },
        one_to_one=False,
    )


def _nearest_columns(source: FeatureVectors, target: FeatureVectors) -> Int64[Tensor, " n_source"]:
    """Index of each source vector's nearest target vector, in blocks of float64 products."""
    left, right = about_centre(source, target)
    columns, found = right.rows(slice(None)), []
    for start in range(0, len(source), _ROWS_PER_BLOCK):
        rows = left.rows(slice(start, start + _ROWS_PER_BLOCK))
        found.append(torch.addmm(right.squares, rows, columns.T, alpha=-2).argmin(1))
    return torch.cat(found)


def _without_cost(permutation: Tensor, solver: str) -> Matching:
    unknown = torch.full((len(permutation),), torch.nan, dtype=torch.float64)
    return Matching(permutation, unknown, provenance={"solver": solver})
