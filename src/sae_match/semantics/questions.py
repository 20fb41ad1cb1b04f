"""Which pairs of features a judge is asked about: random paths over the layers, and controls."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from jaxtyping import Bool
from torch import Tensor

from sae_match.errors import UserError
from sae_match.matching.result import Matching
from sae_match.matching.significance.result import Significance
from sae_match.saes.two import ends_of, layer_of

MATCHED, COMPOSED = "matched", "composed"
#: Controls: what a random feature, the nearest one and the feature itself would get.
NEAREST, RANDOM, IDENTICAL = "nearest", "random", "identical"
#: Matched pairs of neighbouring layers, drawn from both classes in equal numbers.
SIGNIFICANT, NOT_SIGNIFICANT = "significant", "not_significant"

Pair = tuple[int, int]
Eligible = Mapping[int, Bool[Tensor, " d_sae"]]
"""By layer, the features that may be asked about."""


@dataclass(frozen=True)
class Question:
    """Do these two features mean the same?

    Attributes:
        arm: What makes the target feature the source feature's partner: `matched`, `composed`, or a control; or the
            class of matched pairs that this one is drawn from.
        source_layer, source_feature: One feature.
        target_layer, target_feature: The other.
        path: Number of the path that the source feature is on; questions of one path are not independent.
        cost: Of the pair; nan where it is not known.
        q: Of the pair: of all pairs that are as good or better, the share that chance accounts for; nan likewise.
        names: Of two collections, the source's and the target's, if the features are of two.
    """

    arm: str
    source_layer: int
    source_feature: int
    target_layer: int
    target_feature: int
    path: int
    cost: float = math.nan
    # The same question is the same whether it is known or not.
    q: float = field(default=math.nan, compare=False)
    names: tuple[str, str] | None = None

    @property
    def ends(self) -> tuple[int, int]:
        """What is known of the two features is asked for by these: their layers, unless there are two collections."""
        ends = ends_of((self.source_layer, self.target_layer), self.names is not None)
        return (ends[0], ends[0]) if self.arm == IDENTICAL else ends

    @property
    def distance(self) -> int:
        """Target layer less source layer."""
        return self.target_layer - self.source_layer


@dataclass(frozen=True)
class FeaturePath:
    """A feature and its partners, layer by layer, as far as they are matched and eligible.

    Attributes:
        number: Of the path.
        features: One a layer, from the first layer on.
    """

    number: int
    features: tuple[int, ...]


def draw_paths(
    layers: Sequence[int], matchings: Mapping[Pair, Matching], eligible: Eligible, count: int, seed: int
) -> list[FeaturePath]:
    """Paths from features of the first layer, drawn uniformly without replacement.

    A path that reaches an unmatched or ineligible feature ends before it. It counts if it has two features at least.

    Args:
        layers: Consecutive layers of a collection.
        matchings: Of each layer and the next.
        eligible: Features that may be on a path.
        count: How many paths; fewer where there are no more.
        seed: Of the draw.

    Raises:
        UserError: If there is none.
    """
    starts = eligible[layers[0]].nonzero()[:, 0].tolist()
    paths: list[FeaturePath] = []
    for start in random.Random(seed).sample(starts, len(starts)):
        features = tuple(_followed(start, layers, matchings, eligible))
        if len(features) > 1:
            paths.append(FeaturePath(len(paths), features))
        if len(paths) == count:
            return paths
    if not paths:
        raise UserError(
            f"no feature of layer {layer_of(layers[0])} can be asked about: of {len(starts)} eligible ones none has a "
            "partner that is eligible too"
        )
    return paths


def along(
    paths: Sequence[FeaturePath],
    layers: Sequence[int],
    matchings: Mapping[Pair, Matching],
    judged: Mapping[Pair, Significance] | None = None,
) -> Iterator[Question]:
    """Every step of every path; with its q where the matching was judged."""
    known = judged or {}
    for path in paths:
        for at in range(len(path.features) - 1):
            pair, feature = (layers[at], layers[at + 1]), path.features[at]
            cost = float(matchings[pair].pair_cost[feature])
            q = float(known[pair].q[feature]) if pair in known else math.nan
            yield Question(MATCHED, pair[0], feature, pair[1], path.features[at + 1], path.number, cost, q)


def descendants(
    paths: Sequence[FeaturePath],
    layers: Sequence[int],
    start: int,
    arms: Mapping[str, Mapping[Pair, Matching]],
    eligible: Eligible,
) -> Iterator[Question]:
    """The feature of each path in a starting layer, and its partner in every later layer, under each arm.

    Args:
        paths: Over these layers.
        layers: Consecutive layers of a collection.
        start: One of them.
        arms: Matchings from the starting layer to later ones, by arm.
        eligible: Features that may be asked about.
    """
    at = layers.index(start)
    for path in paths:
        if len(path.features) <= at:
            continue
        feature = path.features[at]
        for arm, matchings in arms.items():
            for pair in sorted(pair for pair in matchings if pair[0] == start):
                target, cost = int(matchings[pair].permutation[feature]), float(matchings[pair].pair_cost[feature])
                if target >= 0 and eligible[pair[1]][target]:
                    yield Question(arm, start, feature, pair[1], target, path.number, cost)


def controls(
    steps: Sequence[Question], nearest: Mapping[Pair, Matching], eligible: Eligible, seed: int
) -> Iterator[Question]:
    """For each step of a path: the nearest feature, a random eligible one, and the feature itself.

    Args:
        steps: Questions about neighbouring layers.
        nearest: Nearest features of each pair of layers.
        eligible: Features that may be asked about.
        seed: Of the random features.
    """
    draw = random.Random(seed)
    choices = {layer: mask.nonzero()[:, 0].tolist() for layer, mask in eligible.items()}
    for step in steps:
        source, pair = step.source_feature, (step.source_layer, step.target_layer)
        if pair in nearest and eligible[pair[1]][int(nearest[pair].permutation[source])]:
            target, cost = int(nearest[pair].permutation[source]), float(nearest[pair].pair_cost[source])
            yield Question(NEAREST, pair[0], source, pair[1], target, step.path, cost)
        others = choices[pair[1]]
        # The partner itself would be no control.
        if len(others) > 1 or others != [step.target_feature]:
            target = draw.choice(others)
            while target == step.target_feature:
                target = draw.choice(others)
            yield Question(RANDOM, pair[0], source, pair[1], target, step.path)
        yield Question(IDENTICAL, pair[0], source, pair[0], source, step.path, 0.0)


def all_eligible(widths: Mapping[int, int]) -> dict[int, Bool[Tensor, " d_sae"]]:
    """Every feature of every layer."""
    return {layer: torch.ones(width, dtype=torch.bool) for layer, width in widths.items()}


def _followed(
    start: int, layers: Sequence[int], matchings: Mapping[Pair, Matching], eligible: Eligible
) -> Iterator[int]:
    feature = start
    yield feature
    for pair in pairwise(layers):
        feature = int(matchings[pair].permutation[feature])
        if feature < 0 or not eligible[pair[1]][feature]:
            return
        yield feature
