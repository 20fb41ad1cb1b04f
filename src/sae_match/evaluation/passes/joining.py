"""Matchings that need text, once it is read: made, and made part of the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.two_models.mapping import MapBothWays
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import match_layers
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.sae import SAE
from sae_match.saes.two import Collections


@dataclass(frozen=True)
class Joining:
    """What matchings on text are made with.

    Attributes:
        collection: The SAEs.
        open_sae: Gives the SAE of a layer, or end.
        turn_to: Told whose SAEs are about to be asked for.
        matcher: How features are matched.
        carry: What values are rescaled by on their way, if not by what they are matched by.
        cache: Where matchings are kept.
    """

    collection: Collections
    open_sae: Callable[[int], SAE]
    turn_to: Callable[[Sequence[int]], None]
    matcher: MatcherSettings
    carry: str | None
    cache: MatchingCache

    def matched(self, pair: Pair, turn: MapBothWays) -> Matching:
        """The matching of a pair whose source is turned into the target's coordinates first."""
        source, target = (sae.to("cpu") for sae in self._opened(pair))
        turned = turn.turned(source)
        return match_layers(pair, turned, target, self.matcher, collection=self.collection, cache=self.cache)

    def joined(self, pair: Pair, matchings: PairMatchings, arm: str, found: Matching) -> PairMatchings:
        """Matchings of a pair, with one more."""
        return matchings.with_found(arm, found, *self._opened(pair), self.matcher, self.carry)

    def _opened(self, pair: Pair) -> tuple[SAE, SAE]:
        source, target = self.collection.ends(pair)
        self.turn_to((source, target))
        return self.open_sae(source), self.open_sae(target)
