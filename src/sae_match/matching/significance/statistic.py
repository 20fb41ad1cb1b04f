"""How alike two features are: cosines of encoder columns and of decoder rows, which folding does not change."""

import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from sae_match.matching.arithmetic import blocks
from sae_match.matching.significance.settings import Statistic
from sae_match.saes.sae import SAE

# Rows of a block: their float64 copies stay in a processor's cache.
_ROWS = 256


def pair_statistic(
    source: SAE, target: SAE, permutation: Int64[Tensor, " n_source"], statistic: Statistic
) -> Float64[Tensor, " n_source"]:
    """Statistic of each pair; nan where there is no pair, or a feature has no direction.

    Args:
        source: One side.
        target: The other side.
        permutation: Target feature of each source feature, or -1.
        statistic: `mean` of the encoder's and the decoder's cosine, or one of both alone.
    """
    found = torch.full((len(permutation),), math.nan, dtype=torch.float64)
    paired = (permutation >= 0).nonzero().flatten()
    found[paired] = statistic_of_pairs(source, target, paired, permutation[paired], statistic)
    return found


def statistic_of_pairs(
    source: SAE, target: SAE, rows: Int64[Tensor, " pairs"], columns: Int64[Tensor, " pairs"], statistic: Statistic
) -> Float64[Tensor, " pairs"]:
    """Statistic of listed pairs, of which a feature may have several; nan where a feature has no direction.

    Args:
        source: One side.
        target: The other side.
        rows: Source feature of each pair.
        columns: Target feature of each pair.
        statistic: As for `pair_statistic`.
    """
    found = torch.full((len(rows),), math.nan, dtype=torch.float64)
    sides = list(zip(compared(source, statistic), compared(target, statistic), strict=True))
    for block in blocks(len(rows), _ROWS):
        i, j = rows[block], columns[block]
        cosines = [_cosines(_listed(x, i), _listed(y, j)) for x, y in sides]
        found[block] = torch.stack(cosines).mean(0).cpu()
    return found


def directions(sae: SAE, statistic: Statistic) -> Float[Tensor, "d_sae width"]:
    """One vector a feature, such that a pair's statistic is the inner product; zero without directions.

    In the parameters' dtype, at least float32.
    """
    dtype = torch.float64 if sae.W_dec.dtype == torch.float64 else torch.float32
    parts = [rows.to(dtype) for rows in compared(sae, statistic)]
    lengths = [part.norm(dim=1, keepdim=True) for part in parts]
    there = torch.stack([length > 0 for length in lengths]).all(0)
    unit = [part / torch.where(length > 0, length, 1) for part, length in zip(parts, lengths, strict=True)]
    return torch.where(there, torch.cat(unit, 1) / math.sqrt(len(parts)), 0)


def compared(sae: SAE, statistic: Statistic) -> list[Float[Tensor, "d_sae d_in"]]:
    """What a statistic compares of features: a row each, as long as it is."""
    both = {"encoder": sae.W_enc.T, "decoder": sae.W_dec}
    return list(both.values()) if statistic == "mean" else [both[statistic]]


def _listed(rows: Float[Tensor, "n d"], index: Int64[Tensor, " k"]) -> Float[Tensor, "k d"]:
    """Some rows, side by side in memory."""
    index = index.to(rows.device)
    # An encoder's rows are columns: gathered one by one, each number would come from another place of memory.
    return rows[index] if rows.is_contiguous() else rows.T.index_select(1, index).T.contiguous()


def _cosines(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float64[Tensor, " n"]:
    x, y = x.double(), y.double().to(x.device)
    # Zero over zero: a feature without a direction has no cosine.
    cosines: Tensor = (x * y).sum(1) / x.norm(dim=1) / y.norm(dim=1)
    return cosines
