"""Cheap evidence beside a q-value: how far the second best is, whether both choose each other, whether parts agree."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from sae_match.matching.arithmetic import blocks
from sae_match.matching.cache import MatchingCache
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.nulls import written_and_read
from sae_match.matching.significance.rematching import rematch
from sae_match.matching.significance.settings import Statistic, refuse_unknown
from sae_match.matching.significance.statistic import directions
from sae_match.matching.solver.solving import Watch
from sae_match.matching.solver.starting import Prices
from sae_match.saes.sae import SAE
from sae_match.tensors import exact_product, plain_torch

# Entries of a block of statistics.
_ENTRIES = 2**24


@dataclass(frozen=True, eq=False)
class Alternatives:
    """What speaks for or against each pair besides its statistic.

    Attributes:
        margin: Statistic of the pair less that of the best other target feature; negative where another is more
            alike; nan where there is no pair, no statistic or no other target feature.
        mutual_nearest: Whether, by the statistic, no feature of either side is nearer to the partner than the other.
        encoder_agrees: Whether the same matcher by encoders alone finds the same partner.
        decoder_agrees: Whether it does by decoders alone.
    """

    margin: Float64[Tensor, " n_source"]
    mutual_nearest: Bool[Tensor, " n_source"]
    encoder_agrees: Bool[Tensor, " n_source"]
    decoder_agrees: Bool[Tensor, " n_source"]

    @property
    def all_agree(self) -> Bool[Tensor, " n_source"]:
        """Whether encoders alone, decoders alone and the matching give the same partner."""
        return self.encoder_agrees & self.decoder_agrees


@plain_torch()
def alternatives(
    source: SAE,
    target: SAE,
    matching: Matching,
    *,
    statistic: Statistic = "mean",
    settings: MatcherSettings | None = None,
    source_mask: Bool[Tensor, " n_source"] | None = None,
    target_mask: Bool[Tensor, " n_target"] | None = None,
    cache: MatchingCache | None = None,
    watch_solver: Watch = lambda _: None,
) -> Alternatives:
    """Margin to the second best, mutual nearest, and agreement with matchings by encoders and by decoders alone.

    Takes one pass over all pairs and two matchings.

    Args:
        source: SAE that the matching starts from.
        target: SAE that it leads to.
        matching: Of these, as for `significance`.
        statistic: By which features are near.
        settings: How the matching was found; by default as its provenance says.
        source_mask: As for `significance`.
        target_mask: As for `significance`.
        cache: Where the two matchings are kept.
        watch_solver: Told where their solutions stand.

    Raises:
        UserError: As `significance`.
    """
    refuse_unknown("second_moment", statistic)
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
    rows, columns = again.source_part & written_and_read(source), again.target_part & written_and_read(target)
    nearest = _Nearest.of(directions(source, statistic), directions(target, statistic), rows, columns)
    permutation = matching.permutation
    paired = rows & (permutation >= 0) & columns[permutation.clamp_min(0)]
    margin, mutual = nearest.judge(permutation, paired)
    # By parts there is always something to look for, also where the matching itself has not looked at weights.
    again = replace(again, kind="one to one" if again.kind == "blind" else again.kind)
    same = []
    for term, against in (("W_enc", "encoders alone"), ("W_dec", "decoders alone")):
        settings = replace(again.settings, terms={term: 1.0})
        alone = replace(again, settings=settings, prices=Prices()).told(against)
        same.append((permutation >= 0) & (alone.partners(source, target, again.source_part) == permutation))
    return Alternatives(margin, mutual, same[0], same[1])


@dataclass(frozen=True, eq=False)
class _Nearest:
    """Of all pairs of two sides, the best of each row and column, and the second best of each row."""

    first: Float64[Tensor, " n_source"]
    second: Float64[Tensor, " n_source"]
    best: Int64[Tensor, " n_source"]
    of_column: Int64[Tensor, " n_target"]
    left: Float[Tensor, "n_source width"]
    right: Float[Tensor, "n_target width"]

    @classmethod
    def of(
        cls,
        left: Float[Tensor, "n_source width"],
        right: Float[Tensor, "n_target width"],
        rows: Bool[Tensor, " n_source"],
        columns: Bool[Tensor, " n_target"],
    ) -> "_Nearest":
        """Of the rows and columns that take part."""
        n, m = len(left), len(right)
        first, second = torch.full((2, n), -math.inf, dtype=torch.float64)
        best, of_column = torch.full((n,), -1), torch.full((m,), -1)
        highest = torch.full((m,), -math.inf, dtype=torch.float64)
        absent = (~columns).to(right.device)
        for block in blocks(n, max(1, _ENTRIES // m)):
            values = exact_product(left[block], right).masked_fill_(absent, -math.inf)
            values.masked_fill_((~rows[block]).to(values.device)[:, None], -math.inf)
            top = values.topk(min(2, m), dim=1)
            first[block], best[block] = top.values[:, 0].double().cpu(), top.indices[:, 0].cpu()
            if m > 1:
                second[block] = top.values[:, 1].double().cpu()
            above, who = (each.cpu() for each in values.max(0))
            better = above.double() > highest
            highest[better], of_column[better] = above.double()[better], who[better] + block.start
        return cls(first, second, best, of_column, left, right)

    def judge(
        self, permutation: Int64[Tensor, " n_source"], paired: Bool[Tensor, " n_source"]
    ) -> tuple[Float64[Tensor, " n_source"], Bool[Tensor, " n_source"]]:
        """Margin of each pair, and whether both are each other's nearest."""
        i = paired.nonzero().flatten()
        j = permutation[i]
        own = (self.left[i.to(self.left.device)] * self.right[j.to(self.right.device)]).sum(1).double().cpu()
        is_best = self.best[i] == j
        other = torch.where(is_best, self.second[i], self.first[i])
        margin = torch.full((len(paired),), math.nan, dtype=torch.float64)
        margin[i] = torch.where(other.isinf(), torch.nan, own - other)
        mutual = torch.zeros_like(paired)
        mutual[i] = is_best & (self.of_column[j] == i)
        return margin, mutual
