"""Pictures of a validation's results: one line an arm, layers or distances across, one panel a dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sae_match.evaluation.arms import MATCHED, order_of, quantile_of
from sae_match.evaluation.results import Result, Results, SpanResult
from sae_match.report.pictures import Picture

#: Okabe and Ito's palette, told apart with any colour vision; markers and dashes tell the lines apart in print.
_STYLES: dict[str, tuple[str, str, str]] = {
    "reconstruct_target": ("#000000", "s", "-"),
    "reconstruct_source": ("#56B4E9", "D", "-"),
    "layer_drop": ("#E69F00", "v", "-"),
    "linear_map": ("#000000", "P", "--"),
    "linear_map_sae": ("#56B4E9", "P", "--"),
    "matched": ("#0072B2", "o", "-"),
    "matched_unfolded": ("#CC79A7", "^", "-"),
    "composed": ("#0072B2", "*", "--"),
    "coactivation": ("#009E73", "d", "-"),
    "nearest": ("#CC79A7", "<", "--"),
    "identity": ("#D55E00", "x", "-"),
    "random": ("#009E73", "+", "--"),
}
_LABELS = {
    "delta_loss": "loss increase (nats per token, lower is better)",
    "explained_variance": "explained variance (higher is better)",
    "matching_score": "matching score (higher is better)",
}
_POINT = tuple[int, float, float | None, float | None]
"""Where, value, and the ends of its interval."""


def pictures(results: Results, spans: Sequence[SpanResult]) -> Iterator[Picture]:
    """One a metric, and one for distances where there are several."""
    for metric in _LABELS:
        if len(results.select(metric=metric)):
            yield by_layer(results, metric)
            if len({row.span for row in spans}) > 1:
                yield by_span(spans, metric)


def by_layer(results: Results, metric: str) -> Picture:
    """A metric of every arm by target layer, datasets side by side; of neighbours, or of the shortest distance."""
    shortest = min(row.target_layer - row.source_layer for row in results)
    rows = [row for row in results if row.metric == metric and row.target_layer - row.source_layer == shortest]
    figure = _panels(
        {dataset: _lines(rows, dataset, "target_layer") for dataset in results.distinct("dataset")},
        _LABELS[metric],
        "target layer",
    )
    return Picture(metric, figure, [asdict(row) for row in rows])


def by_span(spans: Sequence[SpanResult], metric: str) -> Picture:
    """A metric of every arm by the distance of the two layers, as a mean over pairs."""
    rows = [row for row in spans if row.metric == metric]
    datasets = dict.fromkeys(row.dataset for row in rows)
    figure = _panels(
        {dataset: _lines(rows, dataset, "span") for dataset in datasets},
        _LABELS[metric],
        "distance of target and source layer",
    )
    return Picture(f"{metric}_by_distance", figure, [asdict(row) for row in rows])


def _lines(rows: Sequence[Result | SpanResult], dataset: str, across: str) -> dict[str, list[_POINT]]:
    """Points of each arm, in table order; quantiles have a figure of their own."""
    lines: dict[str, list[_POINT]] = {}
    for row in sorted(rows, key=lambda row: (order_of(row.arm), getattr(row, across))):
        if row.dataset == dataset and row.arm in _STYLES and quantile_of(row.arm) is None:
            lines.setdefault(row.arm, []).append((getattr(row, across), row.value, row.low, row.high))
    return lines


def _panels(lines: dict[str, dict[str, list[_POINT]]], label: str, across: str) -> Figure:
    figure = Figure(figsize=(4.6 * len(lines) + 1.8, 4.2), layout="constrained")
    panels = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    for panel, (dataset, of_arms) in zip(panels, lines.items(), strict=True):
        for arm, points in of_arms.items():
            _draw_line(panel, arm, points)
        panel.set_xticks(sorted({point[0] for points in of_arms.values() for point in points}))
        panel.axhline(0, color="#999999", linewidth=0.8)
        panel.spines[["right", "top"]].set_visible(False)
        panel.grid(axis="y", color="#E5E5E5", linewidth=0.7)
        panel.set_title(dataset)
        panel.set_xlabel(across)
    panels[0].set_ylabel(label)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False)
    return figure


def _draw_line(panel: Axes, arm: str, points: Sequence[_POINT]) -> None:
    colour, marker, dashes = _STYLES[arm]
    where, values = [point[0] for point in points], [point[1] for point in points]
    width = 2.5 if arm == MATCHED else 1.2
    panel.plot(where, values, color=colour, marker=marker, linestyle=dashes, linewidth=width, markersize=5, label=arm)
    known = [(at, low, high) for at, _, low, high in points if low is not None and high is not None]
    if known:
        at, low, high = zip(*known, strict=True)
        panel.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)
