"""A study of what matched features mean: matchings, paths, questions, and what a judge says to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import cast

import torch

from sae_match.errors import UserError
from sae_match.matching import baselines
from sae_match.matching.composition import compose
from sae_match.matching.cost import Metric
from sae_match.matching.layers import LayerMatcher
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.result import Significance
from sae_match.saes.folding import Fold
from sae_match.saes.sae import SAE
from sae_match.saes.two import layer_of
from sae_match.semantics.classes import of_each_class
from sae_match.semantics.questions import (
    COMPOSED,
    MATCHED,
    Eligible,
    FeaturePath,
    Pair,
    Question,
    all_eligible,
    along,
    controls,
    descendants,
    draw_paths,
)
from sae_match.semantics.settings import StudySettings, refuse_impossible_study


@dataclass(frozen=True)
class Matchings:
    """What questions are made of.

    Attributes:
        neighbours: Matching of each layer and the next.
        exact: From each starting layer straight to later ones.
        composed: The same through all layers in between.
        widths: Features of each layer.
        judged: Which pairs of neighbours are matches, where that was asked.
    """

    neighbours: Mapping[Pair, Matching]
    exact: Mapping[Pair, Matching]
    composed: Mapping[Pair, Matching]
    widths: Mapping[int, int]
    judged: Mapping[Pair, Significance] = field(default_factory=dict)


def chosen_layers(settings: StudySettings, with_sae: Sequence[int]) -> list[int]:
    """The layers that paths lead over: the last ones that follow each other without a gap.

    Raises:
        UserError: If there are fewer than two, or a setting makes no sense.
    """
    refuse_impossible_study(settings)
    layers = sorted(with_sae)[-1:]
    for layer in sorted(with_sae)[-2::-1]:
        if layer != layers[0] - 1 or len(layers) == settings.layers:
            break
        layers.insert(0, layer)
    if len(layers) < 2:
        raise UserError(f"no two layers that follow each other have an SAE: {sorted(with_sae)}")
    return layers


def starting_layers(settings: StudySettings, layers: Sequence[int]) -> list[int]:
    """Layers from which descendants are followed.

    Raises:
        UserError: If a chosen one is not among the paths' layers, or is the last of them.
    """
    if settings.starts is None:
        return sorted({layers[0], layers[(len(layers) - 1) // 2]})
    for start in settings.starts:
        if start not in layers[:-1]:
            raise UserError(f"study.starts: {start} is not one of the layers {list(layers[:-1])} that paths go on from")
    return sorted(set(settings.starts))


def matchings_of(matcher: LayerMatcher, layers: Sequence[int], starts: Sequence[int], rotations: int = 0) -> Matchings:
    """Match neighbours, and every starting layer with all later ones.

    Args:
        matcher: Matches pairs of layers.
        layers: That paths lead over.
        starts: Layers from which descendants are followed.
        rotations: Random targets that matchings of neighbours are judged against.
    """
    neighbours, exact, composed = {}, {}, {}
    judged: dict[Pair, Significance] = {}
    widths: dict[int, int] = {}
    for pair in pairwise(layers):
        neighbours[pair] = matcher.match(pair)
        if (found := matcher.judged(pair, neighbours[pair], rotations)) is not None:
            judged[pair] = found.significance
        widths.update((layer, sae.d_sae) for layer, sae in zip(pair, matcher.opened(pair), strict=True))
    for start in starts:
        chain: Matching | None = None
        for pair in pairwise(layers[layers.index(start) :]):
            whole = (start, pair[1])
            exact[whole] = neighbours[whole] if whole in neighbours else matcher.match(whole)
            chain = neighbours[pair] if chain is None else compose(chain, neighbours[pair])
            if whole not in neighbours:
                composed[whole] = matcher.priced(whole, chain)
    return Matchings(neighbours, exact, composed, widths, judged)


def questions_of(
    settings: StudySettings,
    layers: Sequence[int],
    starts: Sequence[int],
    matchings: Matchings,
    eligible: Eligible,
    matcher: LayerMatcher,
) -> tuple[list[FeaturePath], list[Question]]:
    """Paths, and all questions about them and their controls, each once."""
    paths = draw_paths(layers, matchings.neighbours, eligible, settings.paths, settings.seed)
    steps = list(along(paths, layers, matchings.neighbours, matchings.judged))
    arms = {MATCHED: matchings.exact, COMPOSED: matchings.composed}
    asked = [
        *steps,
        *(question for start in starts for question in descendants(paths, layers, start, arms, eligible)),
        *controls(steps, nearest_of(steps, matcher), eligible, settings.seed),
        *of_each_class(
            matchings.judged, eligible, settings.of_each_class, settings.alpha, settings.seed, first=len(paths)
        ),
    ]
    return paths, list(dict.fromkeys(asked))


def matchings_between(matcher: LayerMatcher, pairs: Sequence[Pair], rotations: int = 0) -> Matchings:
    """Match pairs of layers of two collections; what is known of them is kept by ends, of which no two lead on.

    Args:
        matcher: Matches pairs of layers.
        pairs: Of layers.
        rotations: Random targets that matchings are judged against.
    """
    found: dict[Pair, Matching] = {}
    judged: dict[Pair, Significance] = {}
    widths: dict[int, int] = {}
    for pair in pairs:
        ends = matcher.collection.ends(pair)
        found[ends] = matcher.match(pair)
        if (known := matcher.judged(pair, found[ends], rotations)) is not None:
            judged[ends] = known.significance
        widths.update((end, sae.d_sae) for end, sae in zip(ends, matcher.opened(pair), strict=True))
    return Matchings(found, found, {}, widths, judged)


def questions_between(
    settings: StudySettings, matchings: Matchings, eligible: Eligible, matcher: LayerMatcher
) -> tuple[list[FeaturePath], list[Question]]:
    """Paths of two features, one of each collection, and all questions about them and their controls, each once."""
    paths: list[FeaturePath] = []
    asked: list[Question] = []
    for ends, matching in matchings.neighbours.items():
        drawn = draw_paths(ends, {ends: matching}, eligible, settings.paths, settings.seed)
        drawn = [replace(path, number=path.number + len(paths)) for path in drawn]
        steps = list(along(drawn, ends, {ends: matching}, matchings.judged))
        asked += [*steps, *controls(steps, nearest_of(steps, matcher), eligible, settings.seed)]
        paths += drawn
    more = of_each_class(
        matchings.judged, eligible, settings.of_each_class, settings.alpha, settings.seed, first=len(paths)
    )
    named = (
        replace(
            question,
            source_layer=layer_of(question.source_layer),
            target_layer=layer_of(question.target_layer),
            names=matcher.collection.names,
        )
        for question in (*asked, *more)
    )
    return paths, list(dict.fromkeys(named))


def nearest_of(steps: Sequence[Question], matcher: LayerMatcher) -> dict[Pair, Matching]:
    """Nearest target feature of every source feature that is asked about; -1 for the others."""
    found = {}
    for pair in sorted({(step.source_layer, step.target_layer) for step in steps}):
        source, target = matcher.opened((layer_of(pair[0]), layer_of(pair[1])))
        wanted = sorted({step.source_feature for step in steps if step.source_layer == pair[0]})
        few = _nearest(_only(source, wanted), target, matcher.settings)
        permutation = torch.full((source.d_sae,), -1)
        costs = torch.full((source.d_sae,), torch.nan, dtype=torch.float64)
        permutation[wanted], costs[wanted] = few.permutation, few.pair_cost.cpu()
        found[pair] = Matching(permutation, costs, one_to_one=False)
    return found


def _nearest(source: SAE, target: SAE, settings: MatcherSettings) -> Matching:
    return baselines.nearest(
        source,
        target,
        fold=cast(Fold, settings.fold),
        terms=settings.terms,
        metric=cast(Metric, settings.metric),
    )


def _only(sae: SAE, features: Sequence[int]) -> SAE:
    """An SAE of some of the features."""
    chosen = list(features)
    return replace(
        sae,
        W_enc=sae.W_enc[:, chosen],
        b_enc=sae.b_enc[chosen],
        W_dec=sae.W_dec[chosen],
        threshold=None if sae.threshold is None else sae.threshold[chosen],
        rank_scale=None if sae.rank_scale is None else sae.rank_scale[chosen],
        k=None if sae.k is None else min(sae.k, len(chosen)),
    )


def eligible_of(evidence: Mapping[int, Sequence[bool]], widths: Mapping[int, int], live: bool) -> Eligible:
    """Features that may be drawn: those with evidence, or all.

    Raises:
        UserError: If a layer has none.
    """
    masks = all_eligible(widths)
    if live:
        masks = {layer: torch.tensor(list(evidence[layer]), dtype=torch.bool) for layer in widths}
    for layer, mask in masks.items():
        if not mask.any():
            raise UserError(f"no feature of layer {layer_of(layer)} has a description, or fires anywhere in the text")
    return masks
