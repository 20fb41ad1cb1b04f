"""Where do features go? Paths over the layers, with what each feature on them fires on (Figs. 18, 19)."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from sae_match.evaluation.arm_names import MATCHED
from sae_match.evaluation.plan import Pair
from sae_match.matching.composition import feature_paths
from sae_match.report.drawing import LEAST_SIZE, TITLE_SIZE, WIDTH, set_sizes
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome

_PATHS, _LAYERS = 8, 8
_SEED = 0
# Lines of a cell, and characters in each.
_WRAP, _LINE = 3, 15


@dataclass(frozen=True)
class Step:
    """A feature on a path.

    Attributes:
        path: Number of the path.
        layer, feature: Which feature.
        fires_on: What it fires on.
        active: Tokens on which it was active.
        jaccard: Tokens on which it and the feature before were active, of those on which one was; none at the start.
        cost: Of the pair; none at the start.
    """

    path: int
    layer: int
    feature: int
    fires_on: str
    active: int
    jaccard: float | None
    cost: float | None


def paths(outcome: Outcome) -> Iterator[Picture]:
    """Paths over the last layers in a row: a random choice of those on which every feature was ever active.

    None of two collections, between which nothing leads on.
    """
    chain = _chain(outcome)
    if not chain or outcome.passages is None or outcome.names is not None:
        return
    layers = [chain[0][0], *(target for _, target in chain)]
    every = feature_paths([outcome.matchings[pair].matchings[MATCHED] for pair in chain]).tolist()
    live = [path for path in every if _is_live(outcome, layers, path)]
    if not live:
        return
    chosen = random.Random(_SEED).sample(live, min(_PATHS, len(live)))
    steps = [list(_steps(outcome, number, layers, path)) for number, path in enumerate(chosen)]
    title = f"{len(chosen)} of {len(live):,} paths on which every feature is ever active, drawn at random"
    yield Picture("paths", _drawn(steps, title), [vars(step) for path in steps for step in path])


def _chain(outcome: Outcome) -> list[Pair]:
    """The last pairs of neighbours that follow each other."""
    chain: list[Pair] = []
    for pair in sorted(outcome.matchings, reverse=True):
        if pair[1] - pair[0] == 1 and pair in outcome.tables and (not chain or chain[0][0] == pair[1]):
            chain.insert(0, pair)
    return chain[-(_LAYERS - 1) :]


def _is_live(outcome: Outcome, layers: Sequence[int], path: Sequence[int]) -> bool:
    return all(
        feature >= 0 and int(outcome.layers[layer].active[feature]) > 0
        for layer, feature in zip(layers, path, strict=True)
    )


def _steps(outcome: Outcome, number: int, layers: Sequence[int], path: Sequence[int]) -> Iterator[Step]:
    before: tuple[int, int] | None = None
    for layer, feature in zip(layers, path, strict=True):
        active = int(outcome.layers[layer].active[feature])
        label = outcome.passages.label(layer, feature) if outcome.passages else ""
        jaccard = cost = None
        if before is not None:
            together, cost = _together(outcome, (before[0], layer), before[1])
            jaccard = together / (int(outcome.layers[before[0]].active[before[1]]) + active - together)
        yield Step(number, layer, feature, label, active, jaccard, cost)
        before = layer, feature


def _together(outcome: Outcome, pair: Pair, feature: int) -> tuple[int, float]:
    """Tokens on which both features of a pair were active, on all datasets, and what the pair costs."""
    table = outcome.tables[pair]
    both = table["both_active"].to_numpy()[table["source_feature"].to_numpy() == feature].sum()
    return int(both), float(outcome.matchings[pair].matchings[MATCHED].pair_cost[feature])


def _drawn(steps: Sequence[Sequence[Step]], title: str) -> Figure:
    rows, columns = len(steps), len(steps[0])
    figure = Figure(figsize=(WIDTH, 0.7 * rows + 0.9), layout="constrained")
    panel = figure.subplots()
    set_sizes(panel)
    colours = mpl.colormaps["Blues"]
    for row, path in enumerate(steps):
        for column, step in enumerate(path):
            shade = colours(0.08 + 0.5 * step.jaccard) if step.jaccard is not None else "#F2F2F2"
            cell = mpl.patches.Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, color=shade, linewidth=0)
            panel.add_patch(cell)
            shared = "" if step.jaccard is None else f"  {step.jaccard:.0%}"
            words = (_cut(word) for word in step.fires_on.split(", ")[:_WRAP])
            text = "\n".join((f"{step.feature}{shared}", *words))
            place: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "clip_on": True,
                "in_layout": False,
                "parse_math": False,
            }
            # Wide letters must not reach into the next cell.
            panel.text(column + 0.5, row + 0.5, text, fontsize=LEAST_SIZE, **place).set_clip_path(cell)
    panel.set(xlim=(0, columns), ylim=(rows, 0), yticks=[])
    panel.set_xticks([column + 0.5 for column in range(columns)], [f"layer {step.layer}" for step in steps[0]])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_title(title, fontsize=TITLE_SIZE)
    panel.set_xlabel("a cell: feature, tokens shared with the one before (darker is more), what it fires on")
    return figure


def _cut(word: str) -> str:
    return word if len(word) <= _LINE else f"{word[: _LINE - 1]}…"
