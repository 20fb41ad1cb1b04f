"""How near the nearest is by chance: best-of-all statistics against a dictionary whose features are random.

An edge was chosen as the best of all pairs of a feature, so it is compared with the bests of as many pairs. That of a
feature does not depend on who else looks, as it does in a one-to-one matching: a sample of features has the same null
as all of them, only fewer draws of it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from sae_match.matching.cost import FeatureVectors
from sae_match.matching.relations.directions import directions_of
from sae_match.matching.relations.nearest import best, near_pairs
from sae_match.matching.relations.whitening import Whitening
from sae_match.matching.significance.nulls import NullTargets, rotation_seeds
from sae_match.matching.significance.settings import Null, Statistic
from sae_match.matching.significance.significance import sampled
from sae_match.saes.sae import SAE

#: Pairs up to which all features look for their nearest in every random dictionary. Where there are more, there is one
#: random dictionary, whose making takes long, and in it one feature in so many of either side looks for its nearest
#: among all of the other side.
ALL_DRAWN, WIDE_ROTATIONS, ONE_IN = 2**26, 1, 8


@dataclass(frozen=True, eq=False)
class Chance:
    """What chance gives, all random dictionaries together.

    Attributes:
        source: Statistics that source features have with their nearest, as many as the other side has.
        target: The same of target features.
    """

    source: Float64[Tensor, " source_draws"]
    target: Float64[Tensor, " target_draws"]


def nearest_by_chance(
    source: SAE,
    target: SAE,
    rows: Bool[Tensor, " n_source"],
    columns: Bool[Tensor, " n_target"],
    *,
    null: Null,
    rotations: int,
    seed: int,
    statistic: Statistic,
    whitening: Whitening | None = None,
) -> Chance:
    """Statistics of nearest features where the features of one side, the narrower one, are random.

    Args:
        source: One side.
        target: The other side, on the same device.
        rows: Source features that take part; all have directions.
        columns: Target features that take part; all have directions.
        null: Which random features; as for `significance`.
        rotations: How many random dictionaries, at most; see `drawn`.
        seed: Of them.
        statistic: By which features are near.
        whitening: What directions go through first, random ones as well; none leaves them as they are.

    Raises:
        UserError: If the narrower side has too few features for a random one.
    """
    if source.d_sae < target.d_sae:
        turned = nearest_by_chance(
            target,
            source,
            columns,
            rows,
            null=null,
            rotations=rotations,
            seed=seed,
            statistic=statistic,
            whitening=whitening,
        )
        return Chance(turned.target, turned.source)
    left, wide = directions_of(source, rows, statistic, whitening), _is_wide(rows, columns)
    targets = NullTargets((target,), null, (columns,))
    of_source, of_target = [], []
    for each in rotation_seeds(seed, drawn(rotations, rows, columns)):
        right = directions_of(targets.draw(each)[0], columns, statistic, whitening)
        if not wide:
            i, j, found = near_pairs(left, right)
            of_source.append(best(i, j, found, len(left))[1])
            of_target.append(best(j, i, found, len(right))[1])
            continue
        of_source.append(_of_some(left, right, each))
        of_target.append(_of_some(right, left, each))
    return Chance(torch.cat(of_source), torch.cat(of_target))


def drawn(rotations: int, rows: Bool[Tensor, " n_source"], columns: Bool[Tensor, " n_target"]) -> int:
    """How many random dictionaries there are, of so many that were asked for."""
    return min(rotations, WIDE_ROTATIONS) if _is_wide(rows, columns) else rotations


def _is_wide(rows: Bool[Tensor, " n_source"], columns: Bool[Tensor, " n_target"]) -> bool:
    return int(rows.sum()) * int(columns.sum()) > ALL_DRAWN


def _of_some(left: FeatureVectors, right: FeatureVectors, seed: int) -> Float64[Tensor, " some"]:
    """Statistics of the nearest of some rows, which are drawn."""
    size = max(1, len(left) // ONE_IN)
    some = left.selected(sampled(torch.ones(len(left), dtype=torch.bool), size, seed))
    i, j, found = near_pairs(some, right, of_columns=False)
    return best(i, j, found, len(some))[1]
