"""Do thresholds follow the scale of what features say? Over layers (Fig. 1), and within a layer."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from scipy.stats import spearmanr
from torch import Tensor

from sae_match.evaluation.arm_names import RECONSTRUCT_SOURCE, RECONSTRUCT_TARGET
from sae_match.evaluation.statistics.results import Results
from sae_match.report.drawing import (
    BLACK,
    BLUE,
    GREY,
    TEXT_SIZE,
    Point,
    draw_line,
    look,
    panels,
    set_log,
    set_ticks,
    titled,
)
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import LayerFacts, Outcome

# Features drawn of a layer; more hide each other.
_DOTS = 2000
_NORMAL = 1.96


class Correlation(NamedTuple):
    """Spearman's rank correlation over so many features, with its 95 % interval (Bonett and Wright 2000)."""

    value: float
    low: float
    high: float
    features: int


def threshold_scale(outcome: Outcome) -> Iterator[Picture]:
    """Threshold and residual norm by layer; threshold and mean activation by feature.

    None without thresholds, nor of two collections, which are no course over layers.
    """
    layers = {layer: facts for layer, facts in outcome.layers.items() if facts.threshold is not None}
    if not layers or outcome.names is not None:
        return
    norms = _norms(outcome.results)
    tracked = {layer: tracking(facts) for layer, facts in layers.items()}
    chosen = sorted({sorted(layers)[round(at * (len(layers) - 1) / 2)] for at in range(3)})
    figure, drawn = panels(3 + len(chosen), most=3, height=2.7, sharey=False)
    _draw_norms(drawn[0], norms)
    _draw_thresholds(drawn[1], layers)
    _draw_correlations(drawn[2], tracked)
    for panel, layer in zip(drawn[3:], chosen, strict=True):
        _draw_features(panel, layer, layers[layer], tracked[layer])
    yield Picture("threshold_scale", figure, list(_rows(layers, norms, tracked)))


def tracking(facts: LayerFacts) -> Correlation:
    """How well the order of a layer's thresholds is the order of its features' mean activations."""
    threshold, mean = _live(facts)
    features = len(mean)
    if features < 4 or len(np.unique(threshold)) == 1 or len(np.unique(mean)) == 1:
        return Correlation(math.nan, math.nan, math.nan, features)
    value = float(spearmanr(threshold, mean).statistic)
    if abs(value) == 1:
        return Correlation(value, value, value, features)
    # On the scale of Fisher's z, where the error is normal.
    half = _NORMAL * math.sqrt((1 + value**2 / 2) / (features - 3))
    low, high = (math.tanh(math.atanh(value) + sign * half) for sign in (-1, 1))
    return Correlation(value, low, high, features)


def _live(facts: LayerFacts) -> tuple[np.ndarray, np.ndarray]:
    if facts.threshold is None:
        raise ValueError("no thresholds")
    live = (facts.active > 0).numpy()
    return facts.threshold.numpy()[live], facts.mean_activation.numpy()[live]


def _norms(results: Results) -> dict[str, dict[int, Point]]:
    """Norm of the residual by dataset and layer."""
    norms: dict[str, dict[int, Point]] = {}
    for row in results.select(metric="residual_norm"):
        layer = {RECONSTRUCT_SOURCE: row.source_layer, RECONSTRUCT_TARGET: row.target_layer}[row.arm]
        norms.setdefault(row.dataset, {})[layer] = Point(layer, row.value, row.low, row.high)
    return norms


def _draw_norms(panel: Axes, norms: Mapping[str, Mapping[int, Point]]) -> None:
    for number, (dataset, points) in enumerate(norms.items()):
        draw_line(panel, [points[layer] for layer in sorted(points)], dataset, (*look(number), "-"))
        set_ticks(panel, points)
    panel.set_ylim(bottom=0)
    titled(panel, "residual stream")
    panel.set(xlabel="layer", ylabel="norm (root mean square)")
    panel.legend(frameon=False, fontsize=TEXT_SIZE)


def _draw_thresholds(panel: Axes, layers: Mapping[int, LayerFacts]) -> None:
    points = []
    for layer in sorted(layers):
        low, middle, high = _quartiles(layers[layer].threshold)
        points.append(Point(layer, middle, low, high))
    draw_line(panel, points, "median, quartiles", (BLACK, "s", "-"))
    means = [Point(layer, _mean(layers[layer].threshold)) for layer in sorted(layers)]
    draw_line(panel, means, "mean", (BLUE, "o", "--"))
    set_ticks(panel, layers)
    panel.set_ylim(bottom=0)
    titled(panel, "thresholds of a layer")
    panel.set(xlabel="layer", ylabel="threshold")
    panel.legend(frameon=False, fontsize=TEXT_SIZE)


def _draw_correlations(panel: Axes, tracked: Mapping[int, Correlation]) -> None:
    points = [Point(layer, tracked[layer].value, *tracked[layer][1:3]) for layer in sorted(tracked)]
    draw_line(panel, points, "", (BLUE, "o", "-"), 2.0)
    panel.axhline(0, color=GREY, linewidth=0.8)
    set_ticks(panel, tracked)
    titled(panel, "within a layer, over features")
    panel.set(xlabel="layer")
    panel.set_ylabel("rank correlation of\nthreshold and mean activation")
    panel.set_ylim(-1, 1)


def _draw_features(panel: Axes, layer: int, facts: LayerFacts, found: Correlation) -> None:
    threshold, mean = _live(facts)
    step = max(1, math.ceil(len(mean) / _DOTS))
    panel.scatter(mean[::step], threshold[::step], s=6, color=BLUE, alpha=0.4, linewidths=0)
    set_log(panel, "x")
    set_log(panel, "y")
    titled(panel, f"layer {layer}: {found.value:.2f} ({found.low:.2f} to {found.high:.2f})")
    panel.set(xlabel="mean activation where active", ylabel="threshold")


def _rows(
    layers: Mapping[int, LayerFacts], norms: Mapping[str, Mapping[int, Point]], tracked: Mapping[int, Correlation]
) -> Iterator[dict[str, object]]:
    for layer in sorted(layers):
        low, middle, high = _quartiles(layers[layer].threshold)
        found = tracked[layer]
        row: dict[str, object] = {
            "layer": layer,
            "mean_threshold": _mean(layers[layer].threshold),
            "lower_quartile": low,
            "median": middle,
            "upper_quartile": high,
            "rank_correlation": found.value,
            "rank_correlation_low": found.low,
            "rank_correlation_high": found.high,
            "live_features": found.features,
        }
        for dataset, points in norms.items():
            point = points.get(layer, Point(layer, math.nan))
            row |= {f"residual_norm_{dataset}": point.value}
            row |= {f"residual_norm_{dataset}_low": point.low, f"residual_norm_{dataset}_high": point.high}
        yield row


def _quartiles(values: Float64[Tensor, " n"] | None) -> Sequence[float]:
    known: Sequence[float] = [] if values is None else values[values.isfinite()].tolist()
    return [float(value) for value in np.percentile(known, (25, 50, 75))] if len(known) else [math.nan] * 3


def _mean(values: Float64[Tensor, " n"] | None) -> float:
    return math.nan if values is None else float(values.mean())
