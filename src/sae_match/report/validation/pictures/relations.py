"""What became of the features: where they flow between two dictionaries, or layer after layer; and what is new."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from sae_match.evaluation.plan import Pair
from sae_match.evaluation.relations.overlap import MeanShare
from sae_match.evaluation.relations.stitching import Stitching
from sae_match.evaluation.significance.over_features import Estimate
from sae_match.evaluation.statistics.results import WEIGHTS, Result, cells_of
from sae_match.matching.relations.kinds import APPEAR, END, KINDS, MANY_TO_MANY, MERGE, NOT_TESTED, ONE_TO_ONE, SPLIT
from sae_match.matching.relations.result import Relations
from sae_match.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    TEXT_SIZE,
    VERMILION,
    Point,
    add_legend,
    draw_line,
    look,
    panels,
    set_ticks,
    titled,
)
from sae_match.report.labels import spaced
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome
from sae_match.saes.two import end_name

# Pairs of layers that have room.
_MOST_PAIRS = 3
#: Colour and marker of each kind.
LOOKS = {
    ONE_TO_ONE: (BLUE, "o"),
    SPLIT: (VERMILION, "s"),
    MERGE: (GREEN, "^"),
    MANY_TO_MANY: (ORANGE, "D"),
    APPEAR: (PURPLE, "P"),
    END: (GREY, "v"),
    NOT_TESTED: (PALE, "x"),
}
# From the bottom up; what has no partner stands on top.
_ORDER = (ONE_TO_ONE, SPLIT, MERGE, MANY_TO_MANY, END, APPEAR, NOT_TESTED)
_ON_EITHER = {SPLIT: ("split", "children of splits"), MERGE: ("merge", "merged")}
_BAR, _GAP = 0.06, 0.07


def relations(outcome: Outcome) -> Iterator[Picture]:
    """Of two collections the flow of features by kind and what is new by kind; of one the kinds by layer, on text too.

    None where relations were not asked for.
    """
    if not outcome.relations:
        return
    if outcome.names is None:
        yield _by_layer(outcome)
    else:
        yield _between(outcome)


def _between(outcome: Outcome) -> Picture:
    pairs = sorted(outcome.relations)[:_MOST_PAIRS]
    datasets = list(dict.fromkeys(dataset for _, dataset in outcome.stitched))
    # A pair of layers a row: where its features flow, and beside it what is new.
    figure, drawn = panels(len(pairs) * (2 if datasets else 1), most=2 if datasets else 1, height=3.3, sharey=False)
    flows, shares = (drawn[::2], drawn[1::2]) if datasets else (drawn, [])
    rows: list[dict[str, object]] = []
    for panel, pair in zip(flows, pairs, strict=True):
        titled(panel, " → ".join(f"layer {end_name(end, outcome.names)}" for end in outcome.ends(pair)))
        rows += _draw_flow(panel, pair, outcome.relations[pair])
    new: list[dict[str, object]] = []
    shown = [one.shares for (pair, _), one in outcome.stitched.items() if pair in pairs]
    names = [name for name in ("all", *KINDS) if any(name in shares for shares in shown)]
    for panel, pair in zip(shares, pairs, strict=False):
        of = {dataset: outcome.stitched[pair, dataset] for dataset in datasets if (pair, dataset) in outcome.stitched}
        new += _draw_new(panel, pair, of, names)
    for panel in shares:
        panel.set_ylabel("share of the target's features\nthat are new to the source's dictionary")
    add_legend(figure, shares)
    return Picture("relations", figure, rows, {"new": new} if new else {})


def _draw_flow(panel: Axes, pair: Pair, found: Relations) -> list[dict[str, object]]:
    """Both dictionaries as columns of their kinds, as high as they have features, and bands between relatives."""
    panel.set_axis_off()
    sides = found.source_kind, found.target_kind
    most = max(len(side) for side in sides)
    rows: list[dict[str, object]] = []
    ends: list[dict[int, tuple[float, float]]] = []
    for side, (kinds, at) in enumerate(zip(sides, (0.0, 1.0), strict=True)):
        bottom, heights, places = 0.5 - 0.5 * len(kinds) / most, {}, []
        for kind in _ORDER:
            count = int((kinds == kind).sum())
            if count:
                heights[kind] = bottom, bottom + count / most
                bottom += count / most
                share = count / len(kinds)
                places.append((sum(heights[kind]) / 2, f"{_named(kind, side)} {share:.1%}"))
                rows.append(_row(pair, side, kind, count, share))
                width = _BAR if side == 0 else -_BAR
                panel.fill_betweenx(heights[kind], at - width, at, color=LOOKS[kind][0], linewidth=0)
        ends.append(heights)
        edge, ha = (-_BAR - 0.02, "right") if side == 0 else (1 + _BAR + 0.02, "left")
        apart = spaced([height for height, _ in places], _GAP, -0.03, 1.0)
        for height, (_, text) in zip(apart, places, strict=True):
            panel.text(edge, height, text, ha=ha, va="center", fontsize=TEXT_SIZE)
        panel.text(at, 1.04, f"{len(kinds):,} features", ha="center", va="bottom", fontsize=TEXT_SIZE)
    along = np.linspace(0, 1, 60)
    bend = along**2 * (3 - 2 * along)
    for kind in ends[0].keys() & ends[1].keys():
        if kind == NOT_TESTED:
            continue
        low, high = (ends[0][kind][of] * (1 - bend) + ends[1][kind][of] * bend for of in (0, 1))
        panel.fill_between(along, low, high, color=LOOKS[kind][0], alpha=0.3, linewidth=0)
    panel.set(xlim=(-0.75, 1.75), ylim=(-0.03, 1.12))
    return rows


def _named(kind: int, side: int) -> str:
    return _ON_EITHER[kind][side] if kind in _ON_EITHER else KINDS[kind]


def _row(pair: Pair, side: int, kind: int, count: int, share: float) -> dict[str, object]:
    of = "source" if side == 0 else "target"
    layers = {"source_layer": pair[0], "target_layer": pair[1]}
    return {**layers, "side": of, "kind": KINDS[kind], "features": count, "share": share}


def _draw_new(
    panel: Axes, pair: Pair, stitched: Mapping[str, Stitching], names: Sequence[str]
) -> list[dict[str, object]]:
    """Share of the target's features that are new, by kind, with intervals over documents; one colour a dataset."""
    rows: list[dict[str, object]] = []
    for number, (dataset, one) in enumerate(stitched.items()):
        colour, marker = look(number)
        for at, name in enumerate(names):
            if name not in one.shares:
                continue
            share = one.shares[name]
            where = at + 0.22 * (number - (len(stitched) - 1) / 2)
            _draw_estimate(panel, where, share.new, (colour, marker), dataset if at == 0 else "")
            rows.append(
                {
                    "source_layer": pair[0],
                    "target_layer": pair[1],
                    "dataset": dataset,
                    "kind": name,
                    "features": share.features,
                    "new": share.new.value,
                    "low": share.new.low,
                    "high": share.new.high,
                    "surely_new": share.surely_new,
                    "surely_known": share.surely_known,
                }
            )
    words = {
        "many to many": "many to\nmany",
        "one to one": "one to\none",
        "split": "children\nof splits",
        "merge": "merged",
    }
    panel.set_xticks(range(len(names)), [words.get(name, name) for name in names])
    panel.set(ylim=(-0.03, 1.03), xlim=(-0.6, len(names) - 0.4), xlabel="what became of them, by weights alone")
    return rows


def _draw_estimate(panel: Axes, at: float, found: Estimate, style: tuple[str, str], label: str) -> None:
    known = found.low is not None and found.high is not None
    low, high = (found.low, found.high) if known else (found.value, found.value)
    # The sample need not lie within its replicates' middle.
    reach = [[max(0.0, found.value - (low or 0.0))], [max(0.0, (high or 0.0) - found.value)]]
    colour, marker = style
    panel.errorbar(at, found.value, reach, color=colour, marker=marker, linestyle="none", capsize=4, label=label)


def _by_layer(outcome: Outcome) -> Picture:
    datasets = list(dict.fromkeys(dataset for _, dataset in outcome.overlaps))
    figure, drawn = panels(1 + len(datasets), most=3 if len(datasets) == 2 else 2, height=3.2, sharey=False)
    nearest = min(target - source for source, target in outcome.relations)
    pairs = [pair for pair in sorted(outcome.relations) if pair[1] - pair[0] == nearest]
    rows = [row for row in outcome.of_relations if (row.source_layer, row.target_layer) in pairs]
    for kind in (*range(APPEAR), END, APPEAR):
        side = "target" if kind == APPEAR else "source"
        name = f"{side}_share_{KINDS[kind].replace(' ', '_')}"
        _draw_rows(drawn[0], [row for row in rows if row.metric == name], KINDS[kind], kind)
    drawn[0].set(ylabel="share of the source's features\n(appear: of the target's)", ylim=(0, None))
    for panel, dataset in zip(drawn[1:], datasets, strict=True):
        known = [pair for pair in pairs if (pair, dataset) in outcome.overlaps]
        means = {pair: outcome.overlaps[pair, dataset].mean_containment for pair in known}
        for kind in range(APPEAR):
            metric = f"containment_{KINDS[kind].replace(' ', '_')}"
            _draw_rows(
                panel, [row for row in rows if (row.metric, row.dataset) == (metric, dataset)], KINDS[kind], kind
            )
        panel.axhline(_most_random(means), color=GREY, linestyle=":", label="random parents, at most")
        titled(panel, dataset)
        panel.set(ylabel="share of a child's activity\nthat lies in its parent's", ylim=(0, 1.02))
    for panel in drawn:
        panel.set_xlabel("target layer")
        set_ticks(panel, (target for _, target in pairs))
    add_legend(figure, drawn)
    shown = [row for row in rows if row.dataset == WEIGHTS or row.metric.startswith("containment")]
    return Picture("relations", figure, [cells_of(row, named=False) for row in shown])


def _draw_rows(panel: Axes, rows: Sequence[Result], label: str, kind: int) -> None:
    points = sorted(Point(row.target_layer, row.value, row.low, row.high) for row in rows)
    if points:
        draw_line(panel, points, label, (*LOOKS[kind], "-"), 1.6)


def _most_random(means: Mapping[Pair, Mapping[str, MeanShare]]) -> float:
    return max((mean.control.value for of in means.values() for mean in of.values()), default=0.0)
