"""What a matching without a model can be told."""

from dataclasses import dataclass
from typing import Any

from sae_match.errors import UserError
from sae_match.matching.layers import Pair
from sae_match.matching.matching import MatcherSettings
from sae_match.saes.collection import SAECollection
from sae_match.settings.saes import MISSING, SAESettings


@dataclass
class MatchSettings:
    """Everything that `scripts/match.py` can be told.

    Attributes:
        pairs: `adjacent`, `all`, or a list of pairs of layers such as `[[0,1],[2,5]]`.
        shard: Which of `shards` this run does, from zero.
        shards: Number of parts that the pairs are dealt out to.
        progress: Whether progress is shown.
        output_dir: Where the run leaves its files.
        cache_dir: Folder in which matchings are kept between runs; `matchings` in the user's cache folder if none
            is given.
    """

    sae: SAESettings
    matcher: MatcherSettings
    pairs: Any = "adjacent"
    shard: int = 0
    shards: int = 1
    progress: bool = True
    output_dir: str = MISSING
    cache_dir: str | None = None

    def chosen(self, collection: SAECollection) -> list[Pair]:
        """The pairs of this shard.

        Raises:
            UserError: If there are none, one is no pair of layers of the collection in ascending
                order, or the shard is none of the shards.
        """
        if not 0 <= self.shard < self.shards:
            raise UserError(f"shard must lie in 0 … shards - 1, got shard={self.shard} and shards={self.shards}")
        pairs = self._all_chosen(collection)
        if not pairs:
            layers = ", ".join(map(str, sorted(collection.layers))) or "none"
            raise UserError(f"pairs={self.pairs} chooses no pair in {collection.source}; layers with an SAE: {layers}")
        mine = pairs[self.shard :: self.shards]
        if not mine:
            raise UserError(f"shard={self.shard} of shards={self.shards} has none of {len(pairs)} pairs")
        return mine

    @property
    def compares(self) -> bool:
        """Whether the run sees all pairs, so that chains of neighbours can be compared with direct matchings."""
        return self.pairs == "all" and self.shards == 1

    def _all_chosen(self, collection: SAECollection) -> list[Pair]:
        if self.pairs == "adjacent":
            return collection.adjacent_pairs()
        if self.pairs == "all":
            return collection.all_pairs()
        if not isinstance(self.pairs, list):
            raise UserError(f"pairs must be adjacent, all or a list such as [[0,1],[2,5]], got {self.pairs!r}")
        return list(dict.fromkeys(_pair(given, collection) for given in self.pairs))


def _pair(given: object, collection: SAECollection) -> Pair:
    if not (isinstance(given, list) and len(given) == 2 and all(type(layer) is int for layer in given)):
        raise UserError(f"a pair is two layers such as [0,1], got {given!r} in pairs")
    source, target = given
    for layer in (source, target):
        collection.refuse_unknown(layer)
    if source >= target:
        raise UserError(f"a pair goes from a layer to a later one, got [{source},{target}] in pairs")
    return source, target
