"""Matchings that look at no parameter, to compare with."""

import torch

from sae_match.matching.matching import Matching
from sae_match.saes.sae import SAE


def identity(source: SAE) -> Matching:
    """Feature `i` is feature `i`: the paper's "vanilla"."""
    return _without_cost(torch.arange(source.d_sae), "identity")


def random(source: SAE, *, seed: int) -> Matching:
    """A permutation drawn uniformly."""
    generator = torch.Generator().manual_seed(seed)
    return _without_cost(torch.randperm(source.d_sae, generator=generator), f"random, seed {seed}")


def _without_cost(permutation: torch.Tensor, solver: str) -> Matching:
    unknown = torch.full((len(permutation),), torch.nan, dtype=torch.float64)
    return Matching(permutation, unknown, provenance={"solver": solver})
