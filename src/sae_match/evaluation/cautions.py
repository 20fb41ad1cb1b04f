"""Warnings that a friend would give: what of a run's settings and numbers should make one wary, and what to do."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

from sae_match.evaluation.arm_names import (
    CLEAN,
    IDENTITY,
    LAYER_DROP,
    MEAN,
    RANDOM,
    RECONSTRUCT_SOURCE,
    RECONSTRUCT_TARGET,
    order_of,
)
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.results import Results
from sae_match.files import write_rows
from sae_match.saes.two import Collections, TwoCollections

#: Share of dead features, and share of one dimension in the variance, that are worth a word.
MOST_DEAD, LARGEST_DIMENSION = 0.1, 0.2
# So are loss recovered, L0 of one side over the other's, and L0 on text over the one in the name, beyond these.
_RECOVERED, _UNLIKE_SIDES, _UNLIKE_TEXT = 0.5, 1.5, 2.0
# Arms that are meant to be bad, or are the scale, or say what the layer changes: nothing can be done about these.
_NOT_TO_BE_GOOD = (CLEAN, MEAN, IDENTITY, RANDOM, LAYER_DROP, RECONSTRUCT_SOURCE)
# A layer's number, or as in `3@seed_100` where there are two collections.
Layer = int | str
# Pairs of layers that a line names.
_NAMED = 6
_L0_IN_A_NAME = re.compile(r"l0_(\d+)(?!\d)")


@dataclass(frozen=True)
class Caution:
    """One warning, over all layers that it is about.

    Attributes:
        kind: Short name, for programs.
        where: Layers, or pairs of layers.
        says: What was found, one sentence.
        do: What to do about it.
    """

    kind: str
    where: str
    says: str
    do: str


@dataclass(frozen=True)
class _Found:
    """A number that is beyond what it should be: where, on which text, and how large."""

    place: Layer | Pair
    dataset: str
    value: float
    other: float = 0.0


def save_cautions(cautions: Iterable[Caution], path: Path) -> None:
    """Write as CSV, a row a warning; a run without any leaves the header alone."""
    columns = [field.name for field in fields(Caution)]
    write_rows(path, ({name: getattr(one, name) for name in columns} for one in cautions), columns)


def named_l0s(collection: Collections) -> dict[Layer, float]:
    """L0 that the SAE of a layer is named for, of those layers whose name tells one.

    It is what picks an SAE in a layout that has one folder for each L0, or a part of its path as in `average_l0_71`.
    """
    if isinstance(collection, TwoCollections):
        return {f"{layer}@{name}": l0 for name, one in collection.by_name for layer, l0 in named_l0s(one).items()}
    found: dict[Layer, float] = {}
    for layer, which in collection.layers.items():
        l0 = str(which.get("l0", ""))
        in_path = [match[1] for value in which.values() for match in _L0_IN_A_NAME.finditer(str(value))]
        if l0.isdecimal() or in_path:
            found[layer] = float(l0 if l0.isdecimal() else in_path[-1])
    return found


def cautions_before(
    named: Mapping[Layer, float], pairs: Iterable[Pair], names: tuple[str, str] | None = None
) -> list[Caution]:
    """Warnings that need no run.

    Args:
        named: L0s that SAEs are named for, by layer.
        pairs: Pairs of layers that will be matched.
        names: Of two collections, if there are two.
    """
    first, second = names or ("", "")
    ends = {pair: (_named(pair[0], first), _named(pair[1], second)) for pair in pairs}
    sides = [_Found(pair, "", *(named[end] for end in two)) for pair, two in ends.items() if set(two) <= named.keys()]
    return list(_unlike_sides(sides, "by their names"))


def cautions_after(results: Results, dead: Mapping[Layer, float], named: Mapping[Layer, float]) -> list[Caution]:
    """Warnings about a finished run, the gravest first.

    Args:
        results: Every number of the run.
        dead: Share of features that were never active on any of the evaluated text, by layer.
        named: L0s that SAEs are named for, by layer.
    """
    l0 = _by_layer(results, "l0")
    return [
        *_unlike_text(l0, named),
        *_weak_saes(results),
        *_dead(dead),
        *_one_dimension(_by_layer(results, "largest_dimension")),
        *_extreme_tokens(_by_layer(results, "extreme_tokens")),
        *_unlike_sides(list(_sides(results, l0)), "on the text"),
        *_worse_than_the_mean(results),
    ]


def _unlike_text(l0: Mapping[tuple[Layer, str], float], named: Mapping[Layer, float]) -> Iterator[Caution]:
    found = [
        _Found(layer, dataset, value, named[layer])
        for (layer, dataset), value in l0.items()
        if layer in named and named[layer] > 0 and not 1 / _UNLIKE_TEXT < value / named[layer] < _UNLIKE_TEXT
    ]
    if found:
        worst = max(found, key=lambda one: _ratio(one.value, one.other))
        yield Caution(
            "text_unlike",
            _layers(found),
            f"On this text the SAEs of {_layers(found)} have an L0 unlike the one that they are named for "
            f"({worst.value:.3g} instead of {worst.other:g} in layer {worst.place} on {worst.dataset}).",
            "The text, the model or the place are not those that they were trained on: check BOS, base or instruct "
            "model, and the hook.",
        )


def _weak_saes(results: Results) -> Iterator[Caution]:
    drop = dict(_by_pair(results, LAYER_DROP, "delta_loss"))
    worse = [
        _Found(pair, dataset, value, drop[pair, dataset])
        for (pair, dataset), value in _by_pair(results, RECONSTRUCT_TARGET, "delta_loss")
        if value > drop.get((pair, dataset), float("inf"))
    ]
    if worse:
        worst = max(worse, key=lambda one: one.value - one.other)
        yield Caution(
            "worse_than_leaving_out",
            _pairs(worse),
            f"On {_pairs(worse)} the target SAE's own reconstruction costs more loss than leaving the layer out "
            f"({worst.value:.2f} nats against {worst.other:.2f} on {_pair(worst)}, {worst.dataset}).",
            "No matching is better than its SAEs: train longer, with a larger L0 or more features, or choose others.",
        )
    below = [
        _Found(pair, dataset, value)
        for (pair, dataset), value in _by_pair(results, RECONSTRUCT_TARGET, "loss_recovered")
        if value < _RECOVERED
    ]
    if below:
        worst = min(below, key=lambda one: one.value)
        yield Caution(
            "little_loss_recovered",
            _pairs(below),
            f"On {_pairs(below)} the target SAE's reconstruction recovers less than half of the loss "
            f"({worst.value:.2f} on {_pair(worst)}, {worst.dataset}).",
            "The SAEs do not know this model well enough to compare layers by them: train longer, with a larger L0 or "
            "more features, or choose others.",
        )


def _dead(dead: Mapping[Layer, float]) -> Iterator[Caution]:
    found = [_Found(layer, "", share) for layer, share in dead.items() if share > MOST_DEAD]
    if found:
        worst = max(found, key=lambda one: one.value)
        yield Caution(
            "dead_features",
            _layers(found),
            f"More than a tenth of the features of {_layers(found)} never fire on the evaluated text "
            f"({worst.value:.0%} in layer {worst.place}).",
            "Their partners mean nothing. If more text (text.documents) does not wake them, train the SAEs again or "
            "choose others.",
        )


def _one_dimension(shares: Mapping[tuple[Layer, str], float]) -> Iterator[Caution]:
    found = [_Found(*place, share) for place, share in shares.items() if share > LARGEST_DIMENSION]
    if found:
        worst = max(found, key=lambda one: one.value)
        yield Caution(
            "one_dimension",
            _layers(found),
            f"A single dimension has more than a fifth of the variance of {_layers(found)} ({worst.value:.0%} in "
            f"layer {worst.place} on {worst.dataset}).",
            "explained_variance is mostly that dimension's: look at explained_variance_by_dimension and "
            "explained_variance_normed.",
        )


def _extreme_tokens(shares: Mapping[tuple[Layer, str], float]) -> Iterator[Caution]:
    found = [_Found(*place, share) for place, share in shares.items() if share > 0]
    if found:
        worst = max(found, key=lambda one: one.value)
        yield Caution(
            "extreme_tokens",
            _layers(found),
            f"A few tokens have a residual of more than ten times the median norm in {_layers(found)} "
            f"({worst.value:.2%} of them in layer {worst.place} on {worst.dataset}).",
            "Variances may be theirs alone: compare with the metrics that end in _usual, which leave them out.",
        )


def _unlike_sides(sides: Sequence[_Found], by: str) -> Iterator[Caution]:
    found = [one for one in sides if _ratio(one.value, one.other) > _UNLIKE_SIDES]
    if found:
        worst = max(found, key=lambda one: _ratio(one.value, one.other))
        where = ", ".join(part for part in (_pair(worst) if len(found) > 1 else "", worst.dataset) if part)
        yield Caution(
            "l0s_unlike",
            _pairs(found),
            f"The L0s of the two sides differ by more than half {by} on {_pairs(found)} ({worst.value:.3g} and "
            f"{worst.other:.3g}{where and f' on {where}'}).",
            "What one side tells with one feature the other tells with several: choose SAEs of similar L0.",
        )


def _worse_than_the_mean(results: Results) -> Iterator[Caution]:
    found: dict[str, list[_Found]] = {}
    for metric in ("explained_variance", "loss_recovered"):
        for row in results.select(metric=metric):
            if row.value < 0 and row.arm not in _NOT_TO_BE_GOOD:
                pair = row.source_layer, row.target_layer
                found.setdefault(row.arm, []).append(_Found(pair, f"{metric} {row.value:.2f}", row.value))
    if found:
        every = [one for several in found.values() for one in several]
        worst = min(every, key=lambda one: one.value)
        arm = next(arm for arm, several in found.items() if worst in several)
        yield Caution(
            "worse_than_the_mean",
            _pairs(every),
            f"{', '.join(sorted(found, key=order_of))}: worse than the mean residual on {_pairs(every)} "
            f"({arm} has {worst.dataset} on {_pair(worst)}).",
            "What is carried over has the wrong scale or direction: heed the warnings about the SAEs first, then "
            "compare other matchers (matcher=…) and other ways to carry values (evaluation.carry=…).",
        )


def _named(layer: int, collection: str) -> Layer:
    """A layer, with its collection where there are two."""
    return f"{layer}@{collection}" if collection else layer


def _by_layer(results: Results, metric: str) -> dict[tuple[Layer, str], float]:
    """A number of each layer and dataset, whichever side of a pair it stands on."""
    found = {}
    for row in results.select(metric=metric):
        ends = (row.source_layer, row.source_collection), (row.target_layer, row.target_collection)
        found[_named(*ends[row.arm == RECONSTRUCT_TARGET]), row.dataset] = row.value
    return found


def _by_pair(results: Results, arm: str, metric: str) -> list[tuple[tuple[Pair, str], float]]:
    rows = results.select(arm=arm, metric=metric)
    return [(((row.source_layer, row.target_layer), row.dataset), row.value) for row in rows]


def _sides(results: Results, l0: Mapping[tuple[Layer, str], float]) -> Iterator[_Found]:
    """The L0 of either side of each pair of layers, on each dataset."""
    for row in results.select(metric="l0", arm=RECONSTRUCT_SOURCE):
        pair = row.source_layer, row.target_layer
        yield _Found(pair, row.dataset, row.value, l0[_named(row.target_layer, row.target_collection), row.dataset])


def _ratio(one: float, other: float) -> float:
    """The larger over the smaller; of nothing and something it is infinite."""
    low, high = sorted((one, other))
    return 1.0 if high == low else high / low if low > 0 else float("inf")


def _layers(found: Sequence[_Found]) -> str:
    """Layers, as in `layers 0, 3 to 5`."""
    numbers = sorted({one.place for one in found if isinstance(one.place, int)})
    starts = [number for number in numbers if number - 1 not in numbers]
    runs = [[number for number in numbers if start <= number < end] for start, end in pairwise([*starts, 2**63])]
    told = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    named = sorted({one.place for one in found if isinstance(one.place, str)})
    return f"layer{'s' * (len(numbers) + len(named) > 1)} {', '.join([*told, *named])}"


def _pairs(found: Iterable[_Found]) -> str:
    """Pairs of layers, the first of them by name, as in `3→4, 4→5`."""
    pairs = sorted({one.place for one in found if isinstance(one.place, tuple)})
    named = ", ".join(f"{source}→{target}" for source, target in pairs[:_NAMED])
    return named if len(pairs) <= _NAMED else f"{named} and {len(pairs) - _NAMED} more pairs"


def _pair(one: _Found) -> str:
    return _pairs([one])
