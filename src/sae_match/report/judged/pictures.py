"""Pictures of what a judge said (Figs. 4, 6, 7 left, 8)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from sae_match.report.drawing import (
    BLUE,
    GREY,
    ORANGE,
    TEXT_SIZE,
    Point,
    add_legend,
    bin_edges,
    draw_line,
    look,
    panels,
    set_ticks,
)
from sae_match.report.judged.judgements import ARMS, by_cost, by_distance, by_q, of_neighbours, relative_costs, scored
from sae_match.report.picture import Drawings, Picture
from sae_match.semantics.answers import Answer
from sae_match.semantics.judge.verdicts import LABELS
from sae_match.semantics.questions import COMPOSED, MATCHED, NOT_SIGNIFICANT, RANDOM, SIGNIFICANT
from sae_match.semantics.scores import Score

_NAMES = {1: "different", 2: "maybe", 3: "same"}
_COLOURS = {1: GREY, 2: ORANGE, 3: BLUE}
_SCORE = "mean score (1 different, 3 same)"
_BINS, _FEWEST_BINS = 30, 6


def judgement_drawings(answers: Sequence[Answer]) -> Drawings:
    """What draws the pictures that there are answers for, each on its own."""
    draws = [semantic_counts, semantic_arms, semantic_by_cost] if of_neighbours(answers, MATCHED) else []
    if by_q(answers):
        draws.append(semantic_by_q)
    if by_distance(answers):
        draws.append(semantic_by_distance)
    for draw in draws:
        yield draw.__name__, partial(_only, draw, answers)


def judgement_pictures(answers: Sequence[Answer]) -> Iterator[Picture]:
    """Every picture that there are answers for."""
    for _, draw in judgement_drawings(answers):
        yield from draw()


def _only(draw: Callable[[Sequence[Answer]], Picture], answers: Sequence[Answer]) -> Iterator[Picture]:
    yield draw(answers)


def semantic_counts(answers: Sequence[Answer]) -> Picture:
    """How many steps of paths mean the same, by target layer (Fig. 7, left)."""
    steps = of_neighbours(answers, MATCHED)
    layers = sorted({step.question.target_layer for step in steps})
    found = {layer: scored([step for step in steps if step.question.target_layer == layer]) for layer in layers}
    figure, (counts, means) = panels(2, sharey=False)
    bottom = [0] * len(layers)
    for label in reversed(LABELS):
        heights = [found[layer].counts[label - 1] for layer in layers]
        counts.bar(layers, heights, bottom=bottom, color=_COLOURS[label], label=_NAMES[label], width=0.8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    counts.set(xlabel="target layer", ylabel="steps of paths")
    draw_line(means, [_point(layer, found[layer]) for layer in layers], "", (BLUE, "o", "-"), 2.0)
    means.set(xlabel="target layer", ylabel=_SCORE, ylim=(0.9, 3.1))
    for panel in (counts, means):
        set_ticks(panel, layers)
    add_legend(figure, [counts])
    return Picture("semantic_counts", figure, [{"target_layer": layer, **_row(found[layer])} for layer in layers])


def semantic_arms(answers: Sequence[Answer]) -> Picture:
    """Matched features beside their controls: nearest, random, the feature itself (Fig. 4)."""
    found = {arm: scored(several) for arm in ARMS if (several := of_neighbours(answers, arm))}
    figure, (panel,) = panels(1, height=3.6)
    for at, (arm, result) in enumerate(found.items()):
        _draw_mean(panel, at, result, BLUE if arm == MATCHED else GREY)
    panel.set_xticks(range(len(found)), [arm.replace("_", " ") for arm in found])
    panel.set(ylabel=_SCORE, ylim=(0.9, 3.1), xlim=(-0.5, len(found) - 0.5))
    return Picture("semantic_arms", figure, [{"arm": arm, **_row(result)} for arm, result in found.items()])


def semantic_by_cost(answers: Sequence[Answer]) -> Picture:
    """Do cheap pairs mean the same? Score by quantile of cost, and costs by label (Fig. 6)."""
    found = by_cost(answers)
    figure, (scores, costs) = panels(2, sharey=False)
    draw_line(scores, [_point(number + 1, result) for number, result in found], "", (BLUE, "o", "-"), 2.0)
    set_ticks(scores, [number + 1 for number, _ in found])
    scores.set(xlabel="fifth of the pairs of two layers, cheapest first", ylabel=_SCORE, ylim=(0.9, 3.1))
    by_label = relative_costs(answers)
    given = [label for label in LABELS if by_label[label]]
    if given:
        costs.hist(
            [by_label[label] for label in given],
            bins=bin_edges([cost for label in given for cost in by_label[label]], _bins(by_label)).tolist(),
            color=[_COLOURS[label] for label in given],
            label=[_NAMES[label] for label in given],
            density=True,
            histtype="step",
            linewidth=1.8,
        )
        costs.legend(frameon=False, fontsize=TEXT_SIZE)
    costs.set(xlabel="cost of a pair, in medians of its two layers", ylabel="density")
    rows = [{"fifth": number + 1, **_row(result)} for number, result in found]
    drawn = [{"label": label, "relative_cost": cost} for label in given for cost in sorted(by_label[label])]
    return Picture("semantic_by_cost", figure, rows, {"costs": drawn} if drawn else {})


def semantic_by_q(answers: Sequence[Answer]) -> Picture:
    """Do significant pairs mean the same? Score by fifth of q, and of both classes beside random pairs."""
    found = by_q(answers)
    figure, (fifths, classes) = panels(2)
    draw_line(fifths, [_point(number + 1, result) for number, result in found], "", (BLUE, "o", "-"), 2.0)
    set_ticks(fifths, [number + 1 for number, _ in found])
    fifths.set(xlabel="fifth of the pairs of two layers, most significant first", ylabel=_SCORE, ylim=(0.9, 3.1))
    drawn = {arm: scored(of) for arm in (SIGNIFICANT, NOT_SIGNIFICANT, RANDOM) if (of := of_neighbours(answers, arm))}
    for at, (arm, result) in enumerate(drawn.items()):
        _draw_mean(classes, at, result, GREY if arm == RANDOM else BLUE)
    classes.set_xticks(range(len(drawn)), [arm.replace("_", " ") for arm in drawn])
    classes.set(xlim=(-0.5, max(1, len(drawn)) - 0.5))
    rows = [{"pairs": f"fifth {number + 1}", **_row(result)} for number, result in found]
    return Picture("semantic_by_q", figure, [*rows, *({"pairs": arm, **_row(of)} for arm, of in drawn.items())])


def _draw_mean(panel: Axes, at: int, result: Score, colour: str) -> None:
    low, high = (result.value if end is None else end for end in (result.low, result.high))
    ends = [[result.value - low], [high - result.value]]
    panel.errorbar(at, result.value, ends, fmt="o", color=colour, capsize=4)


def _bins(by_label: Mapping[int, Sequence[float]]) -> int:
    """Fewer where a label has few costs: five of them to a bin, on average."""
    fewest = min(len(costs) for costs in by_label.values() if costs)
    return min(_BINS, max(_FEWEST_BINS, fewest // 5))


def semantic_by_distance(answers: Sequence[Answer]) -> Picture:
    """How long does a feature mean the same? Exact and composed matchings by distance (Fig. 8)."""
    rows = by_distance(answers)
    starts = sorted({source for (_, source, _), _ in rows})
    figure, (panel,) = panels(1, height=3.8)
    for number, start in enumerate(starts):
        colour, marker = look(number)
        for arm, dashes, name in ((MATCHED, "-", "exact"), (COMPOSED, "--", "composed")):
            points = [
                _point(target - source, found)
                for (of, source, target), found in rows
                if source == start and (of == arm or target - source == 1)
            ]
            draw_line(panel, sorted(points), f"from layer {start}, {name}", (colour, marker, dashes), 1.6)
    if by_chance := of_neighbours(answers, RANDOM):
        panel.axhline(scored(by_chance).value, color=GREY, linestyle=":", label="random, neighbours")
    set_ticks(panel, {target - source for (_, source, target), _ in rows})
    panel.set(xlabel="distance in layers", ylabel=_SCORE, ylim=(0.9, 3.1))
    add_legend(figure, [panel])
    table = [
        {"arm": arm, "source_layer": source, "target_layer": target, **_row(found)}
        for (arm, source, target), found in rows
    ]
    return Picture("semantic_by_distance", figure, table)


def _point(at: int, found: Score) -> Point:
    return Point(at, found.value, found.low, found.high)


def _row(found: Score) -> dict[str, object]:
    different, maybe, same, unknown = found.counts
    counts = {"different": different, "maybe": maybe, "same": same, "no_label": unknown}
    return {"score": found.value, "low": found.low, "high": found.high, **counts, "paths": found.paths}
