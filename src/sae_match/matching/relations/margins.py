"""How far the second best is, and whether two features choose each other: one pass over all pairs, exact."""

import math

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sae_match.matching.relations.directions import directions_of, statistics
from sae_match.matching.relations.nearest import best, near_pairs
from sae_match.matching.significance.settings import Statistic
from sae_match.saes.sae import SAE

# Below this, float64 products do not tell two statistics apart.
_EQUAL = 1e-12


def margins(
    source: SAE,
    target: SAE,
    permutation: Int64[Tensor, " n_source"],
    rows: Bool[Tensor, " n_source"],
    columns: Bool[Tensor, " n_target"],
    statistic: Statistic,
) -> tuple[Float64[Tensor, " n_source"], Bool[Tensor, " n_source"]]:
    """Statistic of each pair less that of the best other target feature, and whether both are each other's nearest.

    Args:
        source: One side.
        target: The other side, on the same device.
        permutation: Target feature of each source feature, or -1.
        rows: Source features that take part; all have directions.
        columns: Target features that take part; all have directions.
        statistic: By which features are near.

    Returns:
        The margins, negative where another target feature is more alike; nan where there is no pair of features that
        take part, or no other target feature. And whether no feature of either side is nearer to the partner.
    """
    margin = torch.full((len(rows),), math.nan, dtype=torch.float64)
    mutual = torch.zeros_like(rows)
    number = torch.full((len(columns),), -1)
    number[columns] = torch.arange(int(columns.sum()))
    partner = torch.where(permutation >= 0, number[permutation.clamp_min(0)], -1)[rows]
    i = (partner >= 0).nonzero().flatten()
    if not len(i):
        return margin, mutual
    left, right = directions_of(source, rows, statistic), directions_of(target, columns, statistic)
    own = statistics(left, right, i, partner[i])
    row, column, value = near_pairs(left, right, without=partner)
    of_row = best(row, column, value, len(left))[1][i]
    of_column = best(column, row, value, len(right))[1][partner[i]]
    # Pairs of a shared target are rivals as well.
    shared = torch.full((len(right),), -math.inf, dtype=torch.float64)
    shared = shared.scatter_reduce(0, partner[i], own, "amax")[partner[i]]
    at = rows.nonzero().flatten()[i]
    margin[at] = own - of_row
    # Nothing else is nearer where there is nothing else: nan is above nothing.
    mutual[at] = ~torch.stack([rival > own + _EQUAL for rival in (of_row, of_column, shared)]).any(0)
    return margin, mutual
