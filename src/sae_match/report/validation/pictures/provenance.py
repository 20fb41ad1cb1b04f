"""Where features come from: what carries on from layer to layer, what each module makes anew, what ends."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from sae_match.evaluation.provenance.kinds import CARRIED, KINDS, NEWBORN, PROCESSED, UNEXPLAINED, LayerProvenance
from sae_match.evaluation.provenance.study import Provenance
from sae_match.evaluation.statistics.results import Result, cells_of
from sae_match.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    Point,
    add_legend,
    draw_line,
    panels,
    set_ticks,
    titled,
)
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome
from sae_match.report.validation.provenance import rows_by_layer

#: From the bottom up: what carries on, then what is made anew, by whom.
PARTS = {
    "carried over": BLUE,
    "processed": SKY,
    "newborn of the MLP": VERMILION,
    "newborn of the attention": ORANGE,
    "newborn of both": PURPLE,
    "unexplained": PALE,
}
_ENDS = "ends: nothing like it in the next layer"
_BAR = 0.26
_LINES = {
    "residual": ("the stream before", (BLUE, "o")),
    "mlp": ("the layer's MLP", (VERMILION, "s")),
    "attention": ("the layer's attention", (ORANGE, "D")),
}


def provenance(outcome: Outcome) -> Iterator[Picture]:
    """The flow over layers by q-values and by the literature's cuts; what raises features on text."""
    found = outcome.provenance
    if found is None or not found.layers:
        return
    figure, drawn = panels(2 + len(found.datasets), height=3.4, sharey=False)
    rows: list[dict[str, object]] = []
    for panel, by in zip(drawn, ("q-values", "cuts"), strict=False):
        rows += _draw_flow(panel, found, by)
        titled(panel, "nearest rows against chance (q)" if by == "q-values" else "the literature's cuts, 0.5 and 0.15")
    for panel, dataset in zip(drawn[2:], found.datasets, strict=False):
        _draw_contributions(panel, found, outcome.of_provenance, dataset)
    add_legend(figure, drawn)
    shown = [row for row in outcome.of_provenance if row.metric.startswith("contribution")]
    yield Picture("provenance", figure, rows, {"contributions": [cells_of(row, named=False) for row in shown]})


def _draw_flow(panel: Axes, found: Provenance, by: str) -> list[dict[str, object]]:
    """A column a layer, what carries on as bands between columns; returns the numbers."""
    rows: list[dict[str, object]] = []
    tops: dict[int, float] = {}
    for layer, one in found.layers.items():
        parts = parts_of(one, by == "q-values")
        bottom = 0.0
        for name, share in parts.items():
            panel.bar(
                layer, share, _BAR, bottom, color=PARTS[name], label=name if not tops else None, edgecolor="white"
            )
            bottom += share
            rows.append({"layer": layer, "by": by, "part": name, "share": share})
        tops[layer] = parts["carried over"] + parts["processed"]
        ends = None if one.ends is None or by == "cuts" else float(one.ends[one.tested].double().mean())
        if ends is not None:
            label = _ENDS if len(tops) == 1 else None
            panel.bar(
                layer + 0.75 * _BAR, ends, _BAR / 2, 1 - ends, color=GREY, hatch="//", edgecolor="white", label=label
            )
            rows.append({"layer": layer, "by": by, "part": "ends", "share": ends})
        if layer - 1 in tops:
            before = found.layers[layer - 1]
            on = 1.0 if before.ends is None or by == "cuts" else 1 - float(before.ends[before.tested].double().mean())
            across = [layer - 1 + _BAR / 2, layer - _BAR / 2]
            panel.fill_between(across, [0, 0], [on, tops[layer]], color=BLUE, alpha=0.15, linewidth=0)
    panel.set(xlabel="layer", ylabel="share of the layer's features", ylim=(0, 1.02))
    set_ticks(panel, found.layers)
    return rows


def parts_of(one: LayerProvenance, by_q: bool) -> dict[str, float]:
    """Share of a layer's tested features that each part of a column stands for."""
    kinds = one.kinds if by_q else one.kinds_by_cut
    newborn = one.made_by(by_cut=not by_q)
    found = {
        "carried over": kinds == CARRIED,
        "processed": kinds == PROCESSED,
        "newborn of the MLP": newborn["mlp"],
        "newborn of the attention": newborn["attention"],
        "newborn of both": newborn["both"],
        "unexplained": kinds == UNEXPLAINED,
    }
    return {name: float(part[one.tested].double().mean()) for name, part in found.items()}


def _draw_contributions(panel: Axes, found: Provenance, rows: Sequence[Result], dataset: str) -> None:
    """Shares of the rise of newborn features (solid) and of those carried over (dashed), by layer."""
    for source, (name, (colour, marker)) in _LINES.items():
        for kind, dashes in ((NEWBORN, "-"), (CARRIED, "--")):
            metric = f"contribution_{source}_{KINDS[kind].replace(' ', '_')}"
            points = [Point(r.target_layer, r.value, r.low, r.high) for r in rows_by_layer(rows, metric, dataset)]
            if points:
                draw_line(panel, points, f"{KINDS[kind]}: {name}", (colour, marker, dashes))
    panel.axhline(0, color=GREEN, linewidth=0.5)
    titled(panel, f"{dataset}: who raises a feature where it is active")
    panel.set(xlabel="layer", ylabel="share of the pre-activation's rise\nabove its mean")
    set_ticks(panel, found.layers)
