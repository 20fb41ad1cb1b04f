"""How alike the two features of each pair are, by weights alone: what a table of pairs says without any judging."""

from dataclasses import dataclass

from jaxtyping import Bool, Float64
from torch import Tensor

from sae_match.matching.relations.margins import margins
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.nulls import written_and_read
from sae_match.matching.significance.rematching import rematch
from sae_match.matching.significance.settings import Statistic
from sae_match.matching.significance.statistic import pair_statistic
from sae_match.saes.sae import SAE
from sae_match.tensors import plain_torch

_PARTS: tuple[Statistic, Statistic] = ("encoder", "decoder")


@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike the two features of each pair are; nan where there is no pair, or a feature has no direction.

    Attributes:
        encoder_cosine: Of the columns of `W_enc`.
        decoder_cosine: Of the rows of `W_dec`.
        margin: The mean of both less that of the best other target feature; see `Alternatives`.
        mutual_nearest: Whether both are each other's nearest by that mean.
    """

    encoder_cosine: Float64[Tensor, " n_source"]
    decoder_cosine: Float64[Tensor, " n_source"]
    margin: Float64[Tensor, " n_source"]
    mutual_nearest: Bool[Tensor, " n_source"]

    @property
    def statistic(self) -> Float64[Tensor, " n_source"]:
        """The mean of both cosines, by which pairs are judged."""
        return (self.encoder_cosine + self.decoder_cosine) / 2


@plain_torch()
def likeness(
    source: SAE,
    target: SAE,
    matching: Matching,
    *,
    settings: MatcherSettings | None = None,
    judged: Judged | None = None,
) -> Likeness:
    """How alike the pairs of a matching are; takes one pass over all pairs of features, or none where they are judged.

    Args:
        source: SAE that the matching starts from.
        target: SAE that it leads to.
        matching: Of these.
        settings: How it was found; by default as its provenance says.
        judged: What is known of its pairs already.

    Raises:
        UserError: If the matching is not of these SAEs, or it is not known how it was found.
    """
    permutation = matching.permutation
    encoder, decoder = (pair_statistic(source, target, permutation, part) for part in _PARTS)
    if judged is not None:
        return Likeness(encoder, decoder, judged.beside.margin, judged.beside.mutual_nearest)
    again = rematch(source, target, matching, settings=settings)
    parts = again.source_part & written_and_read(source), again.target_part & written_and_read(target)
    return Likeness(encoder, decoder, *margins(source, target, permutation, *parts, "mean"))
