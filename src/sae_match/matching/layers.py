"""Matchings between the layers of a collection, or of two, with two SAEs in memory at most."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from sae_match.errors import UserError
from sae_match.matching.cache import MatchingCache
from sae_match.matching.composition import priced
from sae_match.matching.relations.relations import relations
from sae_match.matching.relations.result import Relations
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.judging import Judged, judge
from sae_match.matching.significance.likeness import Likeness, likeness
from sae_match.matching.significance.result import Significance
from sae_match.matching.solver.solving import Status
from sae_match.owned import kept_in_record
from sae_match.saes.sae import SAE
from sae_match.saes.two import Collections, pair_name

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
    collection: Collections,
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
    ends = collection.ends(pair)
    try:
        return cache.match(source, target, settings, watch=lambda status: watch(pair, status))
    except UserError as error:
        files = "; ".join(f"layer {collection.end_name(end)} is {collection.describe(end)}" for end in ends)
        raise UserError(f"layers {pair[0]} and {pair[1]}: {error} ({files})") from error


def say_if_with_itself(pair: Pair, matching: Matching, collection: Collections) -> None:
    """Say where the SAEs of two collections are one: every feature is its own partner then."""
    if collection.apart and matching.provenance.get("source", "") == matching.provenance.get("target", "-"):
        log.warning("layers %d and %d are the same SAE in both collections: it is matched with itself", *pair)


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


def matching_file(folder: Path, pair: Pair, names: tuple[str, str] | None = None) -> Path:
    """Where the matching of two layers stands in a run's folder.

    Args:
        folder: The run's.
        pair: The layers.
        names: Of the two collections that they are of; none of one.
    """
    return folder / "matchings" / f"{pair_name(pair, names)}.safetensors"


def significance_file(folder: Path, pair: Pair, names: tuple[str, str] | None = None) -> Path:
    """Where the significance of two layers' matching stands in a run's folder."""
    return folder / "significance" / matching_file(folder, pair, names).name


def save_relations(found: Relations, folder: Path, pair: Pair, names: tuple[str, str] | None = None) -> None:
    """Write what became of the features of two layers to `relations/` in a run's folder."""
    file = folder / "relations" / matching_file(folder, pair, names).name
    with kept_in_record(file):
        found.save(file)


def save_significance(found: Significance, folder: Path, pair: Pair, names: tuple[str, str] | None = None) -> None:
    """Write which pairs of two layers are matches to `significance/` in a run's folder."""
    file = significance_file(folder, pair, names)
    with kept_in_record(file):
        found.save(file)


def save_matching(matching: Matching, folder: Path, pair: Pair, collection: Collections) -> Path:
    """Write the matching of two layers to `matchings/` in a run's folder, its SAEs' files in the provenance."""
    file = matching_file(folder, pair, collection.names)
    sides = ("source", "target")
    files = {f"{side}_file": collection.describe(end) for side, end in zip(sides, collection.ends(pair), strict=True)}
    if collection.names is not None:
        files |= {f"{side}_collection": name for side, name in zip(sides, collection.names, strict=True)}
    with kept_in_record(file):
        replace(matching, provenance={**matching.provenance, **files}).save(file)
    return file


class LayerMatcher:
    """Matches and prices pairs of layers; the SAEs of the last pair stay open, all others are dropped.

    Args:
        collection: The SAEs, of one collection or of two.
        settings: How they are matched.
        cache: Where matchings are kept.
        watch: Told where solutions stand.
    """

    def __init__(
        self,
        collection: Collections,
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
        found = match_layers(
            pair, source, target, self.settings, collection=self.collection, cache=self.cache, watch=self.watch
        )
        say_if_with_itself(pair, found, self.collection)
        return found

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

    def alike(self, pair: Pair, matching: Matching, judged: Judged | None) -> Likeness:
        """How alike the pairs of a matching of two layers are, by weights alone.

        Raises:
            UserError: If an SAE cannot be opened.
        """
        return likeness(*self.opened(pair), matching, settings=self.settings, judged=judged)

    def related(self, pair: Pair, matching: Matching, judged: Judged, alpha: float) -> Relations:
        """What became of the features of two layers, at a level.

        Raises:
            UserError: If an SAE cannot be opened.
        """
        source, target = self.opened(pair)
        return relations(source, target, matching, judged.significance, alpha=alpha, settings=self.settings)

    def opened(self, pair: Pair) -> tuple[SAE, SAE]:
        """The SAEs of two layers.

        Raises:
            UserError: If one cannot be opened.
        """
        ends = self.collection.ends(pair)
        # Dropped before the next is opened, so that there are never three.
        self._open = {end: sae for end, sae in self._open.items() if end in ends}
        for end in ends:
            if end not in self._open:
                self._open[end] = self.collection.open(end)
        return self._open[ends[0]], self._open[ends[1]]
