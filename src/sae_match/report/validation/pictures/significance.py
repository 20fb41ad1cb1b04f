"""Which pairs are better than chance, how long that lasts over layers, and whether it shows on text."""

import math
from collections.abc import Iterator, Sequence

import torch
from matplotlib.axes import Axes

from sae_match.evaluation.arm_names import COMPOSED, MATCHED
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.significance.findings import Findings
from sae_match.evaluation.significance.measured import (
    FIFTHS,
    JACCARD,
    MATCHING_SCORE,
    OTHERS,
    PLAIN,
    PLAIN_CUT,
    SIGNIFICANT,
    STOREY,
    TRUE,
)
from sae_match.evaluation.statistics.results import WEIGHTS, Result, SpanResult, cells_of
from sae_match.matching.significance.result import PROBABILITIES, Significance
from sae_match.report.drawing import (
    BLUE,
    GREY,
    ORANGE,
    Point,
    add_legend,
    draw_line,
    look,
    panels,
    set_ticks,
    titled,
)
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome

# Pairs of layers that have room, and which quantiles a box is drawn of.
_MOST_PAIRS, _BESIDE = 26, 8
_OUTER, _INNER, _MIDDLE = (0.05, 0.95), (0.25, 0.75), 0.5
_CLASSES = (("significant", TRUE), ("the others", OTHERS))
# By which features count as found again in another collection.
_RULES = {SIGNIFICANT: "significant", STOREY: "Storey's estimate", PLAIN: f"plain cut, cosine {PLAIN_CUT}"}


def significance(outcome: Outcome) -> Iterator[Picture]:
    """Observed statistic against the null by pair of layers, with the cut; beside it the share that is significant.

    That is by distance of layers; of two collections by pair of layers, by three rules.
    """
    found = outcome.findings
    if found is None:
        return
    shortest = min(target - source for source, target in found.judged)
    pairs = sorted(pair for pair in found.judged if pair[1] - pair[0] == shortest)[:_MOST_PAIRS]
    figure, (against, by_distance) = panels(2, most=1 if len(pairs) > _BESIDE else 2, height=3.4, sharey=False)
    rows = [_row(pair, found.judged[pair].significance, found.alpha) for pair in pairs]
    for at, row in enumerate(rows):
        _draw_box(against, at - 0.17, row, "null", GREY, "random targets" if at == 0 else "")
        _draw_box(against, at + 0.17, row, "observed", BLUE, "observed" if at == 0 else "")
        if isinstance(cut := row["cut"], float) and math.isfinite(cut):
            label = f"cut at {found.alpha:.0%}" if at == 0 else None
            against.plot([at - 0.38, at + 0.38], [cut, cut], color=ORANGE, linewidth=2.2, label=label)
    against.set_xticks(range(len(pairs)), [f"{source}→{target}" for source, target in pairs])
    if len(pairs) > 10:
        against.tick_params(axis="x", labelrotation=90)
    against.set(xlabel="source layer → target layer", ylabel="mean of encoder and decoder cosine")
    if outcome.names is None:
        _draw_distances(by_distance, found)
        numbers = {"by_distance": [vars(row) for arm in (MATCHED, COMPOSED) for row in _shares(found.spans, arm)]}
    else:
        of_pairs = _found_again(found, pairs)
        _draw_found_again(by_distance, of_pairs, pairs)
        numbers = {"found_again": [cells_of(row, named=False) for row in of_pairs]}
    titled(against, "half of the pairs, and 5 to 95 %")
    add_legend(figure, [against, by_distance])
    yield Picture("significance", figure, rows, numbers)


def coactivation_by_q(outcome: Outcome) -> Iterator[Picture]:
    """Co-activation by fifth of q, and of significant pairs beside the others. None without enough activations."""
    found = outcome.findings
    if found is None:
        return
    shortest = min(row.span for row in found.spans)
    rows = [row for row in found.spans if row.span == shortest and row.dataset != WEIGHTS]
    datasets = [name for name in outcome.results.distinct("dataset") if any(row.dataset == name for row in rows)]
    if not datasets:
        return
    figure, drawn = panels(2 * len(datasets), height=2.9)
    for number, dataset in enumerate(datasets):
        of = {row.metric: row for row in rows if row.dataset == dataset}
        by_fifth, by_class = drawn[2 * number : 2 * number + 2]
        for turn, (measure, name) in enumerate(((JACCARD, "Jaccard"), (MATCHING_SCORE, "matching score"))):
            style = (*look(turn), "-")
            fifths = [(at + 1, of.get(f"{measure}_fifth_{at + 1}")) for at in range(FIFTHS)]
            points = [Point(at, row.value, row.low, row.high) for at, row in fifths if row is not None]
            if points:
                draw_line(by_fifth, points, name, style, 1.6)
            for at, (_, kind) in enumerate(_CLASSES):
                if (row := of.get(f"{measure}_{kind}")) is not None:
                    _draw_point(by_class, at + 0.16 * turn - 0.08, row, style)
        titled(by_fifth, dataset)
        set_ticks(by_fifth, range(1, FIFTHS + 1))
        by_fifth.set(xlabel="fifth of the pairs by q, most significant first")
        by_fifth.set_ylabel("active together\n(share of activations)")
        by_class.set_xticks(range(len(_CLASSES)), [name for name, _ in _CLASSES])
        by_class.set(xlim=(-0.5, 1.5), xlabel=f"q at most {found.alpha:g}, or above")
        by_fifth.set_ylim(bottom=0)
    add_legend(figure, drawn)
    yield Picture("coactivation_by_q", figure, [vars(row) for row in rows])


def _row(pair: Pair, found: Significance, alpha: float) -> dict[str, object]:
    """Quantiles of the observed statistic and of the null, and where significance begins."""
    known = found.statistic[found.tested & ~found.statistic.isnan()].sort().values
    null = dict(zip(PROBABILITIES, found.evidence.quantiles, strict=True))
    wanted = (_OUTER[0], _INNER[0], _MIDDLE, _INNER[1], _OUTER[1])
    observed = {at: _quantile(known, at) for at in wanted}
    return {
        "source_layer": pair[0],
        "target_layer": pair[1],
        **{f"observed_{at:g}": observed[at] for at in wanted},
        **{f"null_{at:g}": null[at] for at in wanted},
        "cut": found.cut(alpha),
        "significant_share": found.share_at(alpha),
        "storey_share": found.storey,
    }


def _quantile(ordered: torch.Tensor, at: float) -> float:
    return float(ordered[round(at * (len(ordered) - 1))]) if len(ordered) else math.nan


def _draw_box(panel: Axes, at: float, row: dict[str, object], which: str, colour: str, label: str) -> None:
    def value(quantile: float) -> float:
        found = row[f"{which}_{quantile:g}"]
        return found if isinstance(found, float) else math.nan

    panel.vlines(at, value(_OUTER[0]), value(_OUTER[1]), color=colour, linewidth=1.4, label=label)
    panel.vlines(at, value(_INNER[0]), value(_INNER[1]), color=colour, linewidth=6, alpha=0.75)
    panel.plot([at], [value(_MIDDLE)], marker="o", markersize=4, color="white", markeredgecolor=colour)


def _draw_point(panel: Axes, at: float, row: SpanResult | Result, style: tuple[str, str, str], label: str = "") -> None:
    low, high = (row.value if end is None else end for end in (row.low, row.high))
    ends = [[row.value - low], [high - row.value]]
    panel.errorbar(at, row.value, ends, color=style[0], marker=style[1], linestyle="none", capsize=4, label=label)


def _draw_distances(panel: Axes, found: Findings) -> None:
    # At one layer both are the same: what was measured stands in front.
    for number, (arm, name) in enumerate(((COMPOSED, "composed, every link"), (MATCHED, "matched directly"))):
        rows = _shares(found.spans, arm)
        # Composition begins at two layers; at one it is the matching itself.
        rows = rows if arm == MATCHED else [*_shares(found.spans, MATCHED)[:1], *rows]
        points = [Point(row.span, row.value, row.low, row.high) for row in rows]
        if points:
            draw_line(panel, points, name, (*look(1 - number), "-" if arm == MATCHED else "--"), 1.6)
    set_ticks(panel, {row.span for row in found.spans})
    panel.set(
        xlabel="distance in layers",
        ylabel=f"share of features significant at {found.alpha:.0%}",
        ylim=(0, 1.02),
    )


def _found_again(found: Findings, pairs: Sequence[Pair]) -> list[Result]:
    """Shares of the features of each pair of layers that another collection has too, by three rules."""
    rows = (row for row in found.results if (row.arm, row.dataset) == (MATCHED, WEIGHTS) and row.metric in _RULES)
    return [row for row in rows if (row.source_layer, row.target_layer) in pairs]


def _draw_found_again(panel: Axes, rows: Sequence[Result], pairs: Sequence[Pair]) -> None:
    for number, (metric, name) in enumerate(_RULES.items()):
        of = {(row.source_layer, row.target_layer): row for row in rows if row.metric == metric}
        for at, pair in enumerate(pairs):
            if pair in of:
                _draw_point(panel, at + 0.16 * (number - 1), of[pair], (*look(number), "none"), name if at == 0 else "")
    panel.set_xticks(range(len(pairs)), [f"{source}→{target}" for source, target in pairs])
    panel.set(
        xlabel="source layer → target layer",
        ylabel="share of features found again",
        ylim=(0, 1.02),
        xlim=(-0.6, len(pairs) - 0.4),
    )


def _shares(spans: Sequence[SpanResult], arm: str) -> list[SpanResult]:
    """Mean share significant by distance."""
    found = [row for row in spans if (row.arm, row.dataset, row.metric) == (arm, WEIGHTS, SIGNIFICANT)]
    return sorted(found, key=lambda row: row.span)
