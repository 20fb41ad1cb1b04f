"""`significance`: the pairs of a matching against what the same matcher finds in random targets."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.cache import MatchingCache
from sae_match.matching.matching import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.nulls import NullTargets, rotation_seeds, written_and_read
from sae_match.matching.significance.rematching import Rematch, rematch
from sae_match.matching.significance.result import NullEvidence, Significance, judged
from sae_match.matching.significance.settings import Null, Statistic, refuse_impossible_counts, refuse_unknown
from sae_match.matching.significance.statistic import pair_statistic
from sae_match.matching.solver.solving import Watch
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch

Rotated = Callable[[int], None]
"""Told how many random targets have been matched."""


@plain_torch()
def significance(
    source: SAE,
    target: SAE,
    matching: Matching,
    *,
    null: Null = "second_moment",
    rotations: int = 8,
    seed: int = 0,
    statistic: Statistic = "mean",
    rows: int | None = None,
    settings: MatcherSettings | None = None,
    source_mask: Bool[Tensor, " n_source"] | None = None,
    target_mask: Bool[Tensor, " n_target"] | None = None,
    cache: MatchingCache | None = None,
    watch: Rotated = lambda _: None,
    watch_solver: Watch = lambda _: None,
) -> Significance:
    """Which pairs of a matching are matches, and not just the nearest that there was.

    The same matcher is run against targets whose features are random but whose dictionary is otherwise alike, and each
    pair is compared with all pairs that chance made. Also for `nearest`, and for partial and rectangular matchings.

    Args:
        source: SAE that the matching starts from.
        target: SAE that it leads to.
        matching: Of these; as `match` or `nearest` made it. Matchings that were not found by weights (identity, chance,
            co-activation) keep their pairs against random targets.
        null: `second_moment` keeps how crowded the target's directions are; `rotation` does not, and calls far too
            much significant where dictionaries are crowded.
        rotations: Random targets. Each costs one matching.
        seed: Of them.
        statistic: `mean` of the cosines of encoder and decoder, or that of the `encoder` or `decoder` alone.
        rows: Source features, drawn anew for each random target, that look for a partner in it; all by default. Fewer
            take less time, have a coarser resolution, `1 / (1 + rotations * rows)`, and compete less for partners:
            chance looks better than it is, and fewer pairs are called significant.
        settings: How the matching was found; by default as its provenance says.
        source_mask: Source features that took part; by default all, or all that are not dead if no dead one has a
            partner.
        target_mask: The same of the target.
        cache: Where the matchings against random targets are kept; they are not by default.
        watch: Told after each random target.
        watch_solver: Told where the solution against each stands.

    Raises:
        UserError: If the matching is not of these SAEs, it is not known how it was found, an argument is impossible, or
            the target has too few features for a random one.
    """
    refuse_unknown(null, statistic)
    refuse_impossible_counts(rotations, seed, rows)
    again = rematch(
        source,
        target,
        matching,
        settings=settings,
        source_mask=source_mask,
        target_mask=target_mask,
        cache=cache,
        watch=watch_solver,
    )
    tested = again.source_part & written_and_read(source)
    if not bool(tested.any()):
        raise UserError(
            f"none of the source's {source.d_sae} features takes part and has an encoder and a decoder direction"
        )
    targets = NullTargets((target,), null, (again.target_part & written_and_read(target),))
    seeds = rotation_seeds(seed, rotations)
    by_chance = []
    for number, each in enumerate(seeds, 1):
        told = again.told(f"random target {number} of {rotations}")
        by_chance.append(_by_chance(source, targets.draw(each)[0], told, tested, statistic, rows, each))
        watch(number)
    about = NullEvidence(null, statistic, rotations, seed, seeds, 0, 0.0, (), rows)
    observed = pair_statistic(source, target, matching.permutation, statistic)
    observed = torch.where(tested, observed, torch.nan)
    return judged(matching, observed, tested, torch.cat(by_chance), about)


def _by_chance(
    source: SAE,
    target: SAE,
    again: Rematch,
    tested: Bool[Tensor, " n_source"],
    statistic: Statistic,
    rows: int | None,
    seed: int,
) -> Float64[Tensor, " draws"]:
    """Statistics that features find in a random target, nan for those that find no partner."""
    part = again.source_part if rows is None else sampled(tested, rows, seed)
    partners = again.partners(source, target, part)
    return pair_statistic(source, target, partners, statistic)[part & tested]


def sampled(tested: Bool[Tensor, " n"], rows: int, seed: int) -> Bool[Tensor, " n"]:
    """So many of the features, drawn at random; all where there are no more."""
    index = tested.nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    some = index[torch.randperm(len(index), generator=generator)[:rows]]
    part = torch.zeros_like(tested)
    part[some] = True
    return part
