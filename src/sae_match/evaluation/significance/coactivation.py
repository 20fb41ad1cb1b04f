"""What matched features did together on a text, and whether that is enough to say anything."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.tally import Tally
from sae_match.matching.result import Matching

#: Tokens on which either feature of a pair must have been active before its co-activation counts: a share of 25 tokens
#: has a standard error of a tenth at most.
FEWEST_ACTIVATIONS = 25


@dataclass(frozen=True, eq=False)
class Coactivation:
    """Of each source feature and its partner, counts of tokens; zero where there is no partner.

    Attributes:
        paired: Whether there is one.
        source: Tokens on which the source feature was active.
        target: On which its partner was.
        both: On which both were.
    """

    paired: Bool[Tensor, " n_source"]
    source: Int64[Tensor, " n_source"]
    target: Int64[Tensor, " n_source"]
    both: Int64[Tensor, " n_source"]

    @classmethod
    def of(cls, tally: Tally, pair: Pair, dataset: str, matched: Matching) -> "Coactivation":
        """Of the pairs of `matched` of two layers, on one dataset."""
        permutation = matched.permutation.cpu()
        paired = permutation >= 0
        before, after = (tally.active((end, dataset)).long().cpu() for end in tally.layout.ends(pair))
        both = tally.joint((pair, MATCHED, dataset)).long().cpu()
        counts = (before, after[permutation.clamp_min(0)], both)
        source, target, together = (torch.where(paired, count, 0) for count in counts)
        return cls(paired, source, target, together)

    @property
    def either(self) -> Int64[Tensor, " n_source"]:
        """Tokens on which one of both was active: what the Jaccard index of a pair rests on."""
        return self.source + self.target - self.both

    @property
    def enough(self) -> Bool[Tensor, " n_source"]:
        """Whether a pair was active often enough for its co-activation to say something."""
        return self.paired & (self.either >= FEWEST_ACTIVATIONS)

    @property
    def jaccard(self) -> Float64[Tensor, " n_source"]:
        """Tokens with both over tokens with either; nan where neither was active."""
        return self.both.double() / self.either

    @property
    def sufficiency(self) -> Float64[Tensor, " n_source"]:
        """When the source feature is active, how often its partner is; nan where it never was."""
        return self.both.double() / self.source
