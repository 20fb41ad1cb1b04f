"""Figures of a validation: one line an arm, layers across, one panel a dataset."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sae_match.evaluation.arms import ARMS, CLEAN
from sae_match.evaluation.results import Results
from sae_match.files import written_whole

#: Okabe and Ito's palette, told apart with any colour vision; markers tell the lines apart in print.
_STYLES: dict[str, tuple[str, str]] = {
    "reconstruct_target": ("#000000", "s"),
    "reconstruct_source": ("#56B4E9", "D"),
    "layer_drop": ("#E69F00", "v"),
    "matched": ("#0072B2", "o"),
    "matched_unfolded": ("#CC79A7", "^"),
    "identity": ("#D55E00", "x"),
    "random": ("#009E73", "+"),
}
_LABELS = {
    "delta_loss": "loss increase (nats per token, lower is better)",
    "explained_variance": "explained variance (higher is better)",
}


def draw(results: Results, folder: Path) -> list[Path]:
    """Write one PNG for explained variance and one for delta loss; returns the files."""
    files = []
    for metric in ("explained_variance", "delta_loss"):
        file = folder / f"{metric}.png"
        with written_whole(file) as temporary, mpl.rc_context({"font.size": 10, "axes.spines.top": False}):
            by_layer(results, metric).savefig(temporary, dpi=150)
        files.append(file)
    return files


def by_layer(results: Results, metric: str) -> Figure:
    """A metric of every arm by target layer, datasets side by side."""
    datasets = results.distinct("dataset")
    figure = Figure(figsize=(4.6 * len(datasets) + 1.8, 4.2), layout="constrained")
    panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for panel, dataset in zip(panels, datasets, strict=True):
        _draw_panel(panel, results.select(metric=metric, dataset=dataset))
        panel.set_title(dataset)
        panel.set_xlabel("target layer")
    panels[0].set_ylabel(_LABELS[metric])
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False)
    return figure


def _draw_panel(panel: Axes, results: Results) -> None:
    for arm in ARMS:
        rows = results.select(arm=arm).rows
        if not rows:
            continue
        colour, marker = _STYLES[arm]
        panel.plot(
            [row.target_layer for row in rows],
            [row.value for row in rows],
            color=colour,
            marker=marker,
            linewidth=2.5 if arm == "matched" else 1.2,
            label=arm,
        )
    panel.set_xticks(sorted({row.target_layer for row in results if row.arm != CLEAN}))
    panel.axhline(0, color="#999999", linewidth=0.8)
    panel.spines["right"].set_visible(False)
    panel.grid(axis="y", color="#E5E5E5", linewidth=0.7)
