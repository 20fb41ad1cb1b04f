"""Cheap evidence beside a q-value: how far the second best is, whether both choose each other, whether parts agree."""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float64
from torch import Tensor

from sae_match.matching.cache import MatchingCache
from sae_match.matching.relations.margins import margins
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.nulls import written_and_read
from sae_match.matching.significance.rematching import rematch
from sae_match.matching.significance.settings import Statistic, refuse_unknown
from sae_match.matching.solver.solving import Watch
from sae_match.matching.solver.starting import Prices
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch


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
    permutation = matching.permutation
    margin, mutual = margins(source, target, permutation, rows, columns, statistic)
    # By parts there is always something to look for, also where the matching itself has not looked at weights.
    again = replace(again, kind="one to one" if again.kind == "blind" else again.kind)
    same = []
    for term, against in (("W_enc", "encoders alone"), ("W_dec", "decoders alone")):
        settings = replace(again.settings, terms={term: 1.0})
        alone = replace(again, settings=settings, prices=Prices()).told(against)
        same.append((permutation >= 0) & (alone.partners(source, target, again.source_part) == permutation))
    return Alternatives(margin, mutual, same[0], same[1])
