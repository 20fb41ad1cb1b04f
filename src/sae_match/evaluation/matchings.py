"""The data-free step of a validation: what each pair of layers is matched by, before any text is read."""

import logging
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import (
    COACTIVATION,
    COMPOSED,
    IDENTITY,
    JUDGED_ARMS,
    MATCHED,
    MATCHED_MAPPED,
    MATCHED_UNFOLDED,
    MATCHING_ARMS,
    NEAREST,
    RANDOM,
    SWAPPED,
    quantile_of,
)
from sae_match.evaluation.matching_error import pair_cosines
from sae_match.evaluation.plan import Pair, arms_of
from sae_match.evaluation.transport import Transport, cheapest
from sae_match.matching import baselines
from sae_match.matching.cache import MatchingCache
from sae_match.matching.composition import compose, priced
from sae_match.matching.cost import Metric
from sae_match.matching.layers import PairWatch, by_target, judge_layers, match_layers, relate_layers
from sae_match.matching.matching import device_named, masks_of
from sae_match.matching.relations.result import Relations
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.side_by_side import how_many, side_by_side
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.result import ALPHA
from sae_match.saes.folding import Fold, natural_fold
from sae_match.saes.sae import SAE
from sae_match.saes.two import Collections

log = logging.getLogger(__name__)

# Arms whose matching is found on text, later.
_ON_TEXT = (COACTIVATION, MATCHED_MAPPED)


@dataclass(frozen=True)
class PairMatchings:
    """How features go from a source SAE to a target SAE under each arm.

    Attributes:
        matchings: Of each matching arm; those that need text join when they are fitted.
        transports: The same, ready to carry values.
        cheap: For each arm `quantile_q`, the features whose pairs cost little enough.
        encoder_cosine: Of each pair of `matched`: cosine of the columns of `W_enc`; empty without.
        decoder_cosine: Of each pair of `matched`: cosine of the rows of `W_dec`; empty without.
        judged: Which pairs of `matched` are matches; none without, or where that was not asked or cannot be told.
        significant: Source features whose pair is one at the level of the settings; none where that was not asked.
        related: What became of the features; none where that was not asked, or nothing could be judged.
    """

    matchings: dict[str, Matching]
    transports: dict[str, Transport]
    cheap: dict[str, Bool[Tensor, " n_source"]] = field(default_factory=dict)
    encoder_cosine: Float[Tensor, " n_source"] = field(default_factory=lambda: torch.empty(0, dtype=torch.float32))
    decoder_cosine: Float[Tensor, " n_source"] = field(default_factory=lambda: torch.empty(0, dtype=torch.float32))
    judged: Judged | None = None
    significant: Bool[Tensor, " n_source"] | None = None
    related: Relations | None = None

    def to(self, device: torch.device) -> "PairMatchings":
        """The same with everything that a batch needs on another device."""
        return replace(
            self,
            transports={arm: transport.to(device) for arm, transport in self.transports.items()},
            cheap={arm: mask.to(device) for arm, mask in self.cheap.items()},
            significant=None if self.significant is None else self.significant.to(device),
        )

    def with_found(
        self, arm: str, found: Matching, source: SAE, target: SAE, settings: MatcherSettings, carry: str | None
    ) -> "PairMatchings":
        """The same with a matching that fitting text gives, as far as its features take part."""
        matching = baselines.without(found, *masks_of(settings, source, target))
        fold = carried_by(arm, settings, source, carry)
        return self.joined(arm, matching, Transport.between(source, target, matching, fold))

    def joined(self, arm: str, matching: Matching, transport: Transport) -> "PairMatchings":
        """The same with a further arm."""
        return replace(
            self, matchings={**self.matchings, arm: matching}, transports={**self.transports, arm: transport}
        )


class PairMatcher:
    """Matches pairs of layers under all arms; the SAEs of two layers are in memory at a time.

    Args:
        collection: The SAEs, of one collection or of two.
        settings: How they are matched.
        cache: Where matchings are kept.
        arms: Arms that are wanted.
        seed: Of the arm `random`.
        watch: Told where solutions stand.
        device: Where nearest features are looked for; a solution has its own setting.
        carry: What values are rescaled by on their way, if not by what they are matched by.
        rotations: Random targets that `matched` is judged against; none is where there are none.
        alpha: Pairs with `q <= alpha` are significant.
        relations: Whether relations are found as well.
    """

    def __init__(
        self,
        collection: Collections,
        settings: MatcherSettings,
        cache: MatchingCache,
        arms: Sequence[str],
        seed: int,
        watch: PairWatch,
        device: torch.device | str = "cpu",
        carry: str | None = None,
        rotations: int = 0,
        alpha: float = ALPHA,
        relations: bool = False,
    ) -> None:
        self.collection, self.settings, self.cache = collection, settings, cache
        self.arms, self.seed, self.watch, self.device, self.carry = arms, seed, watch, device, carry
        self.rotations, self.alpha, self.relations = rotations, alpha, relations
        self._open: dict[int, SAE] = {}
        self._neighbours: dict[int, Matching] = {}
        self._known: dict[Pair, Judged | None] = {}

    def all_of(self, pairs: Sequence[Pair], rank: int = 0, processes: int = 1) -> Iterator[tuple[Pair, PairMatchings]]:
        """Every pair's matchings.

        Of several processes each solves its own share first; the rest it finds in the cache, where it
        waits for a pair that another process is solving. No process waits in any other way.
        """
        ordered = by_target(pairs)
        workers = self._at_one_time(ordered)
        if processes > 1 or workers > 1:
            jobs = [partial(self._ahead, pair) for pair in ordered[rank::processes]]
            self._known.update(side_by_side(jobs, workers, self.watch))
        for pair in ordered:
            yield pair, self._of(pair)

    def _at_one_time(self, pairs: Sequence[Pair]) -> int:
        """Pairs that are matched at one time."""
        device = device_named(self.settings.device)
        if device.type == "cpu" or not pairs:
            return 1
        sides = [self.collection.describe_sae(end) for end in self.collection.ends(pairs[0])]
        d_in = max(side.d_in or 0 for side in sides)
        d_sae = max(side.d_sae or 0 for side in sides)
        return min(len(pairs), how_many(d_in, d_sae, device)) if d_in and d_sae else 1

    def _ahead(self, pair: Pair, watch: PairWatch) -> tuple[Pair, Judged | None]:
        """Have what takes long of a pair in the cache, and what is known of its pairs of features."""
        alone = copy(self)
        alone.watch, alone._open, alone._neighbours = watch, {}, {}
        for arm in self._solved_arms():
            alone._solve(pair, arm)
        if MATCHED not in self.arms:
            return pair, None
        matched = alone._solve(pair, MATCHED)
        judged = alone._judged(pair, matched)
        alone._related(pair, matched, judged)
        return pair, judged

    def opened(self, pair: Pair) -> tuple[SAE, SAE]:
        """The SAEs of a pair.

        Raises:
            UserError: If one cannot be opened, or they are of different widths in one collection.
        """
        ends = self.collection.ends(pair)
        # Dropped before the next is opened, so that there are never three.
        self._open = {end: sae for end, sae in self._open.items() if end in ends}
        for end in ends:
            if end not in self._open:
                self._open[end] = self.collection.open(end)
        source, target = (self._open[end] for end in ends)
        if source.d_sae != target.d_sae and not self.collection.apart:
            raise UserError(
                f"layers {pair[0]} and {pair[1]}: the source has {source.d_sae} features and the target "
                f"{target.d_sae}; a validation compares SAEs of one width"
            )
        return source, target

    def _of(self, pair: Pair) -> PairMatchings:
        wanted = [arm for arm in arms_of(pair, self.arms) if arm in MATCHING_ARMS and arm not in _ON_TEXT]
        quantiles = {arm: q for arm in self.arms if (q := quantile_of(arm)) is not None}
        if (quantiles or {SWAPPED, *JUDGED_ARMS} & set(self.arms)) and MATCHED not in wanted:
            wanted.append(MATCHED)
        matchings = {arm: self._matching(pair, arm) for arm in wanted}
        source, target = self.opened(pair)
        transports = {
            arm: Transport.between(source, target, matching, carried_by(arm, self.settings, source, self.carry))
            for arm, matching in matchings.items()
        }
        found = PairMatchings(matchings, transports)
        if MATCHED not in matchings:
            return found
        matched = matchings[MATCHED]
        judged = self._judged(pair, matched)
        return replace(
            found,
            cheap={arm: cheapest(matched, q) for arm, q in quantiles.items()},
            encoder_cosine=pair_cosines(source.W_enc.T, target.W_enc.T, matched),
            decoder_cosine=pair_cosines(source.W_dec, target.W_dec, matched),
            judged=judged,
            significant=self._significant(pair, matched, judged) if self.rotations else None,
            related=self._related(pair, matched, judged),
        )

    def _matching(self, pair: Pair, arm: str) -> Matching:
        if arm == COMPOSED:
            return self._composed(pair)
        if arm in (MATCHED, MATCHED_UNFOLDED):
            return self._solve(pair, arm)
        source, target = self.opened(pair)
        source_mask, target_mask = masks_of(self.settings, source, target)
        if arm == IDENTITY:
            return baselines.without(baselines.identity(source, target.d_sae), source_mask, target_mask)
        if arm == RANDOM:
            drawn = baselines.random(source, target.d_sae, seed=self.seed + pair[0])
            return baselines.without(drawn, source_mask, target_mask)
        return baselines.nearest(
            source.to(self.device),
            target.to(self.device),
            fold=fold_of(arm, self.settings, source),
            terms=self.settings.terms,
            metric=cast(Metric, self.settings.metric),
            source_mask=source_mask,
            target_mask=target_mask,
        )

    def _solve(self, pair: Pair, arm: str) -> Matching:
        source, target = self.opened(pair)
        settings = replace(self.settings, fold=fold_of(arm, self.settings, source))
        return match_layers(
            pair, source, target, settings, collection=self.collection, cache=self.cache, watch=self.watch
        )

    def _judged(self, pair: Pair, matched: Matching) -> Judged | None:
        """Which pairs of two layers are matches."""
        if (known := self._known.pop(pair, None)) is not None:
            return known
        opened = self.opened(pair)
        return judge_layers(pair, *opened, matched, self.rotations, self.settings, cache=self.cache, watch=self.watch)

    def _related(self, pair: Pair, matched: Matching, judged: Judged | None) -> Relations | None:
        """What became of the features of two layers, where that is asked for and can be told."""
        if not self.relations or judged is None:
            return None
        return relate_layers(pair, *self.opened(pair), matched, judged, self.alpha, self.settings, cache=self.cache)

    def _significant(self, pair: Pair, matched: Matching, judged: Judged | None) -> Bool[Tensor, " n_source"]:
        """Source features whose pair is a match; none of them where that cannot be told."""
        if judged is not None:
            return judged.significance.q <= self.alpha
        if arms := [arm for arm in self.arms if arm in JUDGED_ARMS]:
            log.warning("layers %d and %d: no pair counts as significant for %s", *pair, " and ".join(arms))
        return torch.zeros_like(matched.permutation, dtype=torch.bool)

    def _composed(self, pair: Pair) -> Matching:
        chain = self._neighbour(pair[0])
        for layer in range(pair[0] + 1, pair[1]):
            chain = compose(chain, self._neighbour(layer))
        return priced(chain, *self.opened(pair), self.settings)

    def _neighbour(self, layer: int) -> Matching:
        """The matching of a layer and the next, found once."""
        if layer not in self._neighbours:
            self._neighbours[layer] = self._solve((layer, layer + 1), MATCHED)
        return self._neighbours[layer]

    def _solved_arms(self) -> list[str]:
        return [arm for arm in (MATCHED, MATCHED_UNFOLDED) if arm in self.arms]


def fold_of(arm: str, settings: MatcherSettings, source: SAE) -> Fold:
    """What an arm's features are matched by; the baselines stay folded whatever the matcher."""
    if arm == MATCHED_UNFOLDED:
        return "none"
    if arm in (IDENTITY, RANDOM, NEAREST, COACTIVATION) and settings.fold == "none":
        return natural_fold(source)
    return cast(Fold, settings.fold)


def carried_by(arm: str, settings: MatcherSettings, source: SAE, carry: str | None) -> Fold:
    """What values are rescaled by under an arm, if they are to be carried otherwise than matched."""
    return fold_of(arm, settings, source) if carry is None or arm == MATCHED_UNFOLDED else cast(Fold, carry)
