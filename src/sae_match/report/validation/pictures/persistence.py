"""How long does a feature live? Co-activation and agreement with its descendants by distance (Fig. 8)."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from sae_match.evaluation.arm_names import COMPOSED, MATCHED, RANDOM
from sae_match.evaluation.significance.over_features import share_over_features
from sae_match.evaluation.statistics.results import WEIGHTS, Result
from sae_match.matching.composition import compare
from sae_match.report.drawing import GREY, Point, add_legend, draw_line, look, metric_label, panels, set_ticks, titled
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome

# First layers that have a line of their own.
_STARTS = 4
# Of the intervals' draws.
_SEED = 0
_SCORE, _AGREEMENT = "matching_score", "agreement"
_COLUMNS = ("source_layer", "target_layer", "arm", "dataset", "metric", "value", "low", "high")


def persistence(outcome: Outcome) -> Iterator[Picture]:
    """Matching score and agreement by distance from a first layer, exact and composed.

    None without distances, nor of two collections.
    """
    starts = _starts(outcome)
    if not starts or outcome.names is not None:
        return
    rows = [row for row in outcome.results if row.metric == _SCORE and row.arm in (MATCHED, COMPOSED, RANDOM)]
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    rows += _agreements(outcome)
    figure, drawn = panels(len(datasets) + 1, height=3.2, sharey=False)
    for panel, dataset in zip(drawn, datasets, strict=False):
        of_dataset = [row for row in rows if row.dataset == dataset]
        _draw_scores(panel, starts, of_dataset)
        titled(panel, dataset)
        panel.set_ylabel(metric_label(_SCORE))
    for number, start in enumerate(starts):
        _draw(drawn[-1], start, [row for row in rows if row.metric == _AGREEMENT], "", (*look(number), "-"))
    titled(drawn[-1], "weights alone")
    drawn[-1].set(ylabel="share of features whose partner is\nthe same, exact and composed")
    for panel in drawn:
        panel.set_ylim(bottom=0)
        panel.set_xlabel("distance in layers")
        set_ticks(panel, {row.target_layer - row.source_layer for row in rows})
    add_legend(figure, drawn)
    yield Picture("persistence", figure, [{name: getattr(row, name) for name in _COLUMNS} for row in rows])


def _starts(outcome: Outcome) -> list[int]:
    """First layers from which at least two distances were measured: some of them, evenly spread."""
    spans: dict[int, set[int]] = {}
    for (source, target), found in outcome.matchings.items():
        if MATCHED in found.matchings:
            spans.setdefault(source, set()).add(target - source)
    starts = sorted(start for start, several in spans.items() if len(several) > 1)
    if len(starts) <= _STARTS:
        return starts
    return [starts[round(at * (len(starts) - 1) / (_STARTS - 1))] for at in range(_STARTS)]


def _draw_scores(panel: Axes, starts: Sequence[int], rows: Sequence[Result]) -> None:
    matched, composed, by_chance = ([row for row in rows if row.arm == arm] for arm in (MATCHED, COMPOSED, RANDOM))
    for number, start in enumerate(starts):
        colour, marker = look(number)
        _draw(panel, start, matched, f"from layer {start}, exact", (colour, marker, "-"))
        # Composition begins at two layers; at one it is the matching itself.
        first = [row for row in matched if row.target_layer - row.source_layer == 1]
        _draw(panel, start, [*first, *composed], f"from layer {start}, composed", (colour, marker, "--"))
    if by_chance:
        panel.axhline(max(row.value for row in by_chance), color=GREY, linestyle=":", label="random, at most")


def _draw(panel: Axes, start: int, rows: Sequence[Result], label: str, style: tuple[str, str, str]) -> None:
    points = sorted(
        Point(row.target_layer - start, row.value, row.low, row.high) for row in rows if row.source_layer == start
    )
    if points:
        draw_line(panel, points, label, style, 1.6)


def _agreements(outcome: Outcome) -> Iterator[Result]:
    """How often composed and exact matchings agree; a number of the weights alone."""
    for pair, found in sorted(outcome.matchings.items()):
        if {MATCHED, COMPOSED} <= found.matchings.keys():
            agreed = compare(found.matchings[COMPOSED], found.matchings[MATCHED])
            ends = share_over_features(agreed.agreement, agreed.features, "L{:02d}-L{:02d}".format(*pair), _SEED)
            yield Result(*pair, COMPOSED, WEIGHTS, _AGREEMENT, agreed.agreement, ends.low, ends.high, 0, 0)
