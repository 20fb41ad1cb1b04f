"""Matchings between the layers of a collection, with two SAEs in memory at most."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from sae_match.errors import UserError
from sae_match.matching.cache import MatchingCache
from sae_match.matching.composition import priced
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.judging import Judged, judge
from sae_match.matching.significance.result import Significance
from sae_match.matching.solver.solving import Status
from sae_match.owned import kept_in_record
from sae_match.saes.collection import SAECollection
from sae_match.saes.sae import SAE

log = logging.getLogger(__name__)

Pair = tuple[int, int]
"""Source layer and target layer."""

PairWatch = Callable[[Pair, Status], None]
"""Told where the solution of a pair stands, many times a pass."""


def unwatched(pair: Pair, status: Status) -> None:
    """Watch nothing."""


def by_target(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs by ascending target layer, the nearest source first.

    A target's SAE is then opened once, and the matchings that a chain of neighbours needs come before
    the pair that the chain ends in.
    """
    return sorted(pairs, key=lambda pair: (pair[1], -pair[0]))


def match_layers(
    pair: Pair,
    source: SAE,
    target: SAE,
    settings: MatcherSettings,
    *,
    collection: SAECollection,
    cache: MatchingCache,
    watch: PairWatch = unwatched,
) -> Matching:
    """Match the SAEs of two layers, or find their matching in the cache.

    Args:
        pair: The layers.
        source: SAE of the first.
        target: SAE of the second.
        settings: How they are matched.
        collection: Where the SAEs come from.
        cache: Where matchings are kept.
        watch: Told where the solution stands.

    Raises:
        UserError: If they cannot be matched; names the layers and their files.
    """
    try:
        return cache.match(source, target, settings, watch=lambda status: watch(pair, status))
    except UserError as error:
        files = "; ".join(f"layer {layer} is {collection.describe(layer)}" for layer in pair)
        raise UserError(f"layers {pair[0]} and {pair[1]}: {error} ({files})") from error


def judge_layers(
    pair: Pair,
    source: SAE,
    target: SAE,
    matching: Matching,
    rotations: int,
    settings: MatcherSettings,
    *,
    cache: MatchingCache,
    watch: PairWatch = unwatched,
) -> Judged | None:
    """Judge the matching of two layers; none, and a warning, where there is nothing to judge it by.

    Args:
        pair: The layers.
        source: SAE of the first.
        target: SAE of the second.
        matching: Of these.
        rotations: Random targets; with none, nothing is judged.
        settings: How the layers were matched.
        cache: Where matchings are kept.
        watch: Told where solutions stand.
    """
    if rotations == 0:
        return None
    try:
        found = judge(
            source,
            target,
            matching,
            rotations,
            settings=settings,
            cache=cache,
            watch=lambda status: watch(pair, status),
        )
    except UserError as error:
        # What was matched is right all the same, and nothing else rests on this.
        log.warning("layers %d and %d: which pairs are matches cannot be told: %s", *pair, error)
        return None
    shares = found.significance
    told = "layers %d and %d judged: %.3f of the features are significantly matched at 5 %%, Storey's share %.3f"
    log.info(told, *pair, shares.share, shares.storey)
    return found


def matching_file(folder: Path, pair: Pair) -> Path:
    """Where the matching of two layers stands in a run's folder."""
    return folder / "matchings" / f"L{pair[0]:02d}-L{pair[1]:02d}.safetensors"


def significance_file(folder: Path, pair: Pair) -> Path:
    """Where the significance of two layers' matching stands in a run's folder."""
    return folder / "significance" / matching_file(folder, pair).name


def save_significance(found: Significance, folder: Path, pair: Pair) -> None:
    """Write which pairs of two layers are matches to `significance/` in a run's folder."""
    file = significance_file(folder, pair)
    with kept_in_record(file):
        found.save(file)


def save_matching(matching: Matching, folder: Path, pair: Pair, collection: SAECollection) -> Path:
    """Write the matching of two layers to `matchings/` in a run's folder, its SAEs' files in the provenance."""
    file = matching_file(folder, pair)
    files = {f"{end}_file": collection.describe(layer) for end, layer in zip(("source", "target"), pair, strict=True)}
    with kept_in_record(file):
        replace(matching, provenance={**matching.provenance, **files}).save(file)
    return file


class LayerMatcher:
    """Matches and prices pairs of layers; the SAEs of the last pair stay open, all others are dropped.

    Args:
        collection: The SAEs.
        settings: How they are matched.
        cache: Where matchings are kept.
        watch: Told where solutions stand.
    """

    def __init__(
        self,
        collection: SAECollection,
        settings: MatcherSettings,
        cache: MatchingCache,
        watch: PairWatch = unwatched,
    ) -> None:
        self.collection, self.settings, self.cache, self.watch = collection, settings, cache, watch
        self._open: dict[int, SAE] = {}

    def match(self, pair: Pair) -> Matching:
        """The matching of two layers.

        Raises:
            UserError: If an SAE cannot be opened or the two cannot be matched.
        """
        source, target = self.opened(pair)
        return match_layers(
            pair, source, target, self.settings, collection=self.collection, cache=self.cache, watch=self.watch
        )

    def priced(self, pair: Pair, matching: Matching) -> Matching:
        """A matching of two layers with the costs that its pairs have under the settings."""
        return priced(matching, *self.opened(pair), self.settings)

    def judged(self, pair: Pair, matching: Matching, rotations: int) -> Judged | None:
        """Which pairs of a matching of two layers are matches; none where that cannot be told, or nobody asks.

        Raises:
            UserError: If an SAE cannot be opened.
        """
        return judge_layers(
            pair, *self.opened(pair), matching, rotations, self.settings, cache=self.cache, watch=self.watch
        )

    def opened(self, pair: Pair) -> tuple[SAE, SAE]:
        """The SAEs of two layers.

        Raises:
            UserError: If one cannot be opened.
        """
        # Dropped before the next is opened, so that there are never three.
        self._open = {layer: sae for layer, sae in self._open.items() if layer in pair}
        for layer in pair:
            if layer not in self._open:
                self._open[layer] = self.collection.open(layer)
        return self._open[pair[0]], self._open[pair[1]]
