"""What partners do when features are switched off, by class of pairs, beside the controls."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from sae_match.evaluation.causal.measures import AGREEMENT, CARRIED, TOP
from sae_match.evaluation.causal.sample import ARMS
from sae_match.evaluation.statistics.results import SpanResult, cells_of
from sae_match.report.drawing import GREY, add_legend, look, panels, titled
from sae_match.report.picture import Picture
from sae_match.report.validation.causal import CLASSES, of_class
from sae_match.report.validation.outcome import Outcome

_MEASURES = {
    CARRIED: "carried activation\n(1: the partner falls silent)",
    AGREEMENT: "effect agreement\n(correlation of KL over tokens)",
    TOP: "causal top 1\n(share whose partner falls most)",
}


def causal(outcome: Outcome) -> Iterator[Picture]:
    """Carried activation, effect agreement and causal top 1 of each arm, by class, at the shortest distance."""
    found = outcome.causal
    if found is None or not found.spans:
        return
    shortest = min(row.span for row in found.spans)
    rows = [row for row in found.spans if row.span == shortest]
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    figure, drawn = panels(len(_MEASURES) * len(datasets), most=len(_MEASURES), height=3.6, sharey=False)
    shown: list[dict[str, object]] = []
    for number, dataset in enumerate(datasets):
        of = [row for row in rows if row.dataset == dataset]
        for column, (measure, label) in enumerate(_MEASURES.items()):
            panel = drawn[number * len(_MEASURES) + column]
            shown += _draw(panel, of, measure)
            titled(panel, dataset)
            panel.set_ylabel(label)
    add_legend(figure, drawn)
    yield Picture("causal", figure, shown)


def _draw(panel: Axes, rows: Sequence[SpanResult], measure: str) -> list[dict[str, object]]:
    """A point for each class and arm, with its interval."""
    by = {(row.arm, row.metric): row for row in rows}
    drawn: list[dict[str, object]] = []
    for turn, arm in enumerate(ARMS):
        colour, marker = look(turn)
        for at, name in enumerate(CLASSES):
            if (row := by.get((arm, of_class(measure, name)))) is None:
                continue
            where, label = at + 0.18 * (turn - 1.5), arm.replace("_", " ") if at == 0 else None
            panel.plot([where], [row.value], color=colour, marker=marker, markersize=5, linestyle="", label=label)
            if row.low is not None and row.high is not None:
                panel.plot([where, where], [row.low, row.high], color=colour, linewidth=1.4)
            drawn.append(cells_of(row, named=False))
    panel.axhline(0, color=GREY, linewidth=0.8)
    panel.set_xticks(range(len(CLASSES)), list(CLASSES.values()), rotation=60, ha="right")
    return drawn
