"""All candidates of a single feature, each with what chance says of it: a second partner, a split, or none."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.significance.nulls import NullTargets, rotation_seeds, written_and_read
from sae_match.matching.significance.settings import Null, Statistic, refuse_impossible_counts, refuse_unknown
from sae_match.matching.significance.statistic import directions
from sae_match.matching.significance.values import p_values, q_values
from sae_match.saes.sae import SAE
from sae_match.tensors import exact_product, plain_torch


@dataclass(frozen=True, eq=False)
class Candidates:
    """Target features by how alike they are to one source feature, the most alike first.

    Attributes:
        feature: The source feature.
        target: Target features that have directions.
        statistic: Of each with the source feature.
        p: Probability that a random feature is as good.
        q: Of all candidates that are as good or better, the share that chance accounts for.
    """

    feature: int
    target: Int64[Tensor, " n"]
    statistic: Float64[Tensor, " n"]
    p: Float64[Tensor, " n"]
    q: Float64[Tensor, " n"]


@plain_torch()
def candidates(
    source: SAE,
    target: SAE,
    feature: int,
    *,
    null: Null = "second_moment",
    rotations: int = 64,
    seed: int = 0,
    statistic: Statistic = "mean",
    target_mask: Bool[Tensor, " n_target"] | None = None,
) -> Candidates:
    """Every target feature's statistic with one source feature, against that feature's own statistics by chance.

    Nothing is matched. The best of `n` candidates can have no smaller q-value than about `1 / rotations`.

    Args:
        source: SAE of the feature.
        target: SAE of the candidates.
        feature: Of the source.
        null: As for `significance`.
        rotations: Random targets.
        seed: Of them.
        statistic: As for `significance`.
        target_mask: Target features that take part.

    Raises:
        UserError: If there is no such feature, it has no direction, or as `significance`.
    """
    refuse_unknown(null, statistic)
    refuse_impossible_counts(rotations, seed)
    if source.d_in != target.d_in:
        raise UserError(f"the source reads activations of width {source.d_in}, the target of width {target.d_in}")
    if not 0 <= feature < source.d_sae:
        raise UserError(f"there is no source feature {feature}; there are 0 to {source.d_sae - 1}")
    only = torch.zeros(source.d_sae, dtype=torch.bool)
    only[feature] = True
    if not bool((written_and_read(source) & only).any()):
        raise UserError(f"source feature {feature} has no encoder or no decoder direction: it is dead")
    live = written_and_read(target)
    live = live if target_mask is None else live & target_mask.cpu()
    wanted = directions(source, statistic)[feature : feature + 1]
    targets = NullTargets((target,), null, (live,))
    by_chance = [
        _statistics(wanted, targets.draw(each)[0], live, statistic) for each in rotation_seeds(seed, rotations)
    ]
    found, order = _statistics(wanted, target, live, statistic).sort(descending=True, stable=True)
    p = p_values(found, torch.cat(by_chance))
    q = q_values(p, torch.ones_like(p, dtype=torch.bool))
    return Candidates(feature, live.nonzero().flatten()[order], found, p, q)


def _statistics(
    wanted: Float[Tensor, "1 width"], target: SAE, live: Bool[Tensor, " n_target"], statistic: Statistic
) -> Float64[Tensor, " live"]:
    others = directions(target, statistic)
    return exact_product(wanted.to(others), others)[0].double().cpu()[live]
