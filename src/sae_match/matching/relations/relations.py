"""`relations`: what became of each feature of one dictionary in another; not one partner, but all relatives."""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.relations.chance import Chance, drawn, nearest_by_chance
from sae_match.matching.relations.kinds import Components
from sae_match.matching.relations.nearest import Nearest, nearest_of_both
from sae_match.matching.relations.result import Edges, Relations, RelationsEvidence
from sae_match.matching.relations.whitening import SHRINKAGE, Whitening
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.nulls import written_and_read
from sae_match.matching.significance.rematching import rematch
from sae_match.matching.significance.result import ALPHA, Significance
from sae_match.matching.significance.settings import Null, Statistic, refuse_impossible_alpha, refuse_unknown
from sae_match.matching.significance.statistic import statistic_of_pairs
from sae_match.matching.significance.values import p_values, q_values
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch


@plain_torch()
def relations(
    source: SAE,
    target: SAE,
    matching: Matching,
    significance: Significance,
    *,
    alpha: float = ALPHA,
    settings: MatcherSettings | None = None,
    source_mask: Bool[Tensor, " n_source"] | None = None,
    target_mask: Bool[Tensor, " n_target"] | None = None,
) -> Relations:
    """Which features of two dictionaries are relatives: kept one to one, split, merged, new or gone.

    A matching gives a feature one partner. Where a feature has split, only one of its children gets it, so edges come
    from the nearest lists of both directions instead: every feature of either side asks for its nearest of the other,
    and is judged against how near the nearest is by chance. Near is meant after `Whitening`, so that what all features
    have in common counts for little. The nearest of `F` features is the best of `F` pairs, and
    that is what the null holds too; it is not the null of the matching, whose pairs compete. q-values are those of
    Benjamini and Hochberg over the questions of all features of both sides together.

    Args:
        source: SAE that the matching starts from.
        target: SAE that it leads to, on the same device.
        matching: Of these, as for `significance`. It says which features take part, and which edges are its pairs.
        significance: Of the matching. It says which null, statistic, number of random dictionaries and seed are used;
            of dictionaries with very many pairs, fewer of them (`chance`).
        alpha: Level at which an edge is significant.
        settings: How the matching was found; by default as its provenance says.
        source_mask: As for `significance`.
        target_mask: As for `significance`.

    Raises:
        UserError: If the significance is of another matching, a level is impossible, one side has no feature with
            directions, or as `significance`.
    """
    refuse_impossible_alpha(alpha)
    _refuse_others(matching, significance)
    about = significance.evidence
    null, statistic = _of_evidence(significance)
    again = rematch(source, target, matching, settings=settings, source_mask=source_mask, target_mask=target_mask)
    rows, columns = again.source_part & written_and_read(source), again.target_part & written_and_read(target)
    for side, sae, part in (("source", source, rows), ("target", target, columns)):
        if not bool(part.any()):
            raise UserError(
                f"none of the {side}'s {sae.d_sae} features takes part and has an encoder and a decoder direction"
            )
    whitening = Whitening.of(source, target, rows, columns, statistic)
    nearest = nearest_of_both(source, target, rows, columns, statistic, whitening)
    chance = nearest_by_chance(
        source,
        target,
        rows,
        columns,
        null=null,
        rotations=about.rotations,
        seed=about.seed,
        statistic=statistic,
        whitening=whitening,
    )
    p, q = _judged(nearest, chance, rows, columns)
    plain = partial(statistic_of_pairs, source, target, statistic=statistic)
    edges = _edges(nearest, p, q, matching.permutation, alpha, plain)
    matched = (significance.q <= alpha).nonzero().flatten()
    apart = len(matched) - int((edges.matched & (significance.q[edges.source] <= alpha)).sum())
    evidence = RelationsEvidence(
        null=null,
        statistic=statistic,
        rotations=drawn(about.rotations, rows, columns),
        seed=about.seed,
        alpha=alpha,
        shrinkage=SHRINKAGE,
        source_draws=len(chance.source),
        target_draws=len(chance.target),
        source_from=_smallest(nearest.source_statistic, q[0], alpha),
        target_from=_smallest(nearest.target_statistic, q[1], alpha),
        matched_apart=apart,
    )
    found = Components.of(edges.source, edges.target, source.d_sae, target.d_sae)
    return Relations(edges, found, *p, evidence)


def _judged(
    nearest: Nearest, chance: Chance, rows: Bool[Tensor, " n_source"], columns: Bool[Tensor, " n_target"]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """p- and q-values of each side's features; q over both sides together."""
    p = p_values(nearest.source_statistic, chance.source), p_values(nearest.target_statistic, chance.target)
    q = q_values(torch.cat(p), torch.cat([rows, columns]))
    of_source, of_target = q.split([len(rows), len(columns)])
    return p, (of_source, of_target)


def _edges(
    nearest: Nearest,
    p: tuple[Tensor, Tensor],
    q: tuple[Tensor, Tensor],
    permutation: Int64[Tensor, " n_source"],
    alpha: float,
    plain: Callable[[Tensor, Tensor], Tensor],
) -> Edges:
    """Pairs that are significant and the nearest of one of both, each once, in the order of source and target."""
    i, j = ((each <= alpha).nonzero().flatten() for each in q)
    n_target = len(nearest.of_target)
    keys = torch.cat([i * n_target + nearest.of_source[i], nearest.of_target[j] * n_target + j])
    pairs, which = keys.unique(return_inverse=True)
    source, target = pairs // n_target, pairs % n_target
    smallest = torch.full((2, len(pairs)), torch.inf, dtype=torch.float64)
    for row, values in enumerate((torch.cat([p[0][i], p[1][j]]), torch.cat([q[0][i], q[1][j]]))):
        smallest[row].scatter_reduce_(0, which, values, "amin")
    whitened = torch.empty(len(pairs), dtype=torch.float64)
    whitened[which] = torch.cat([nearest.source_statistic[i], nearest.target_statistic[j]])
    return Edges(
        source,
        target,
        plain(source, target),
        whitened,
        smallest[0],
        smallest[1],
        nearest.of_source[source] == target,
        nearest.of_target[target] == source,
        permutation[source] == target,
    )


def _smallest(statistic: Tensor, q: Tensor, alpha: float) -> float:
    kept = statistic[q <= alpha]
    return float(kept.min()) if len(kept) else torch.inf


def _of_evidence(significance: Significance) -> tuple[Null, Statistic]:
    about = significance.evidence
    refuse_unknown(about.null, about.statistic)
    return cast(Null, about.null), cast(Statistic, about.statistic)


def _refuse_others(matching: Matching, significance: Significance) -> None:
    if matching.provenance.get("solver") == "composition":
        raise UserError("relations of two dictionaries go with a direct matching of these, not with a composed one")
    if not torch.equal(matching.permutation, significance.matching.permutation):
        raise UserError(
            "the significance is of another matching: its pairs are not those of the matching that was given; "
            "give the matching that was judged, not its significant part"
        )
