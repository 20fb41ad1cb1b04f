"""How near the nearest is by chance: best-of-all statistics against a dictionary whose features are random.

An edge was chosen as the best of all pairs of a feature, so it is compared with the bests of as many pairs. That of a
feature does not depend on who else looks, as it does in a one-to-one matching: a sample of features has the same null
as all of them, only fewer draws of it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from sae_match.matching.relations.nearest import bests, unit_directions
from sae_match.matching.significance.nulls import NullTargets, rotation_seeds
from sae_match.matching.significance.settings import Null, Statistic
from sae_match.matching.significance.significance import sampled
from sae_match.saes.sae import SAE

#: Pairs up to which all features look for their nearest in every random dictionary. Where there are more, so many of
#: either side do that all random dictionaries together take as long as the real one.
ALL_DRAWN = 2**26


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
) -> Chance:
    """Statistics of nearest features where the features of one side, the narrower one, are random.

    Args:
        source: One side.
        target: The other side, on the same device.
        rows: Source features that take part; all have directions.
        columns: Target features that take part; all have directions.
        null: Which random features; as for `significance`.
        rotations: How many random dictionaries.
        seed: Of them.
        statistic: By which features are near.

    Raises:
        UserError: If the narrower side has too few features for a random one.
    """
    if source.d_sae < target.d_sae:
        turned = nearest_by_chance(
            target, source, columns, rows, null=null, rotations=rotations, seed=seed, statistic=statistic
        )
        return Chance(turned.target, turned.source)
    i, j = rows.nonzero().flatten(), columns.nonzero().flatten()
    left = unit_directions(source, i, statistic)
    n, m = drawn(len(i), rotations, len(i) * len(j)), drawn(len(j), rotations, len(i) * len(j))
    targets = NullTargets((target,), null, (columns,))
    of_source, of_target = [], []
    for each in rotation_seeds(seed, rotations):
        right = unit_directions(targets.draw(each)[0], j, statistic)
        if n == len(i):
            found = bests(left, right)
            of_source.append(found[0])
            of_target.append(found[1])
            continue
        of_source.append(bests(left[_some(len(left), n, each)], right)[0])
        of_target.append(bests(right[_some(len(right), m, each)], left)[0])
    return Chance(torch.cat(of_source), torch.cat(of_target))


def drawn(features: int, rotations: int, pairs: int) -> int:
    """How many of one side's features look for their nearest in each random dictionary.

    Args:
        features: Of that side.
        rotations: Random dictionaries.
        pairs: Of both sides' features.
    """
    return features if pairs <= ALL_DRAWN else max(1, features // (2 * rotations))


def _some(n: int, size: int, seed: int) -> Bool[Tensor, " n"]:
    return sampled(torch.ones(n, dtype=torch.bool), size, seed)
