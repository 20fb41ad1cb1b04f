"""Matchings one after another (section 3.2)."""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.result import Matching


def compose(first: Matching, second: Matching) -> Matching:
    """`second` after `first`: where the partner of a partner is.

    A feature that either matching leaves alone has no partner. Costs of the composed pairs are not
    known without the SAEs, so `pair_cost` is nan, and nothing is proven about them.

    Raises:
        UserError: If `first` leads to features that `second` does not have.
    """
    if len(first.permutation) and int(first.permutation.max()) >= len(second.permutation):
        raise UserError(
            f"the first matching leads to feature {int(first.permutation.max())}, "
            f"the second starts from {len(second.permutation)} features"
        )
    if {"target"} <= first.provenance.keys() and {"source"} <= second.provenance.keys():
        _refuse_other_sae(first, second)
    unmatched = torch.full((1,), -1)
    permutation = torch.cat([second.permutation, unmatched])[first.permutation]
    ends = dict((*_end(first, "source"), *_end(second, "target")))
    return Matching(
        permutation,
        torch.full((len(permutation),), torch.nan, dtype=torch.float64),
        provenance={"solver": "composition", **ends},
    )


def feature_paths(matchings: Sequence[Matching]) -> Int64[Tensor, "d_sae layers"]:
    """Where every feature of the first layer goes, layer by layer, -1 from where its path ends on.

    Args:
        matchings: Of consecutive layers, at least one.
    """
    if not matchings:
        raise UserError("a feature path needs at least one matching")
    reached = [matchings[0]]
    for matching in matchings[1:]:
        reached.append(compose(reached[-1], matching))
    start = torch.arange(len(matchings[0].permutation))
    return torch.stack([start, *(matching.permutation for matching in reached)], dim=1)


def _refuse_other_sae(first: Matching, second: Matching) -> None:
    if first.provenance["target"] != second.provenance["source"]:
        raise UserError("the second matching does not start from the SAE that the first one leads to")


def _end(matching: Matching, key: str) -> list[tuple[str, str]]:
    return [(key, matching.provenance[key])] if key in matching.provenance else []
