"""Which metric tells best what an arm costs? Rank correlation of each metric with the loss, over arms and layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64, Int64
from matplotlib.axes import Axes
from scipy.stats import rankdata

from sae_match.evaluation.arm_names import MATCHING_ARMS
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.results import Results
from sae_match.report.drawing import BLUE, GREY, ORANGE, add_legend, panels, titled
from sae_match.report.picture import Picture
from sae_match.report.validation.outcome import Outcome

_FIRST, _SCORE, _LOSS = "explained_variance", "matching_score", "delta_loss"
_METRICS = (
    _FIRST,
    "explained_variance_mse",
    "explained_change",
    "explained_variance_by_dimension",
    "explained_variance_by_dimension_usual",
    "explained_variance_normed",
    "explained_variance_normed_usual",
    _SCORE,
)
_NAMES = {
    "explained_variance_mse": "explained variance, with the mean error",
    "explained_variance_by_dimension_usual": "… of usual tokens",
    "explained_variance_normed": "explained variance behind the norm",
    "explained_variance_normed_usual": "… of usual tokens",
}
# Over which arms, and how they are drawn: only some have a matching score.
_EVERY, _MATCHING = "every arm", "arms that match"
_LOOKS = {_EVERY: (BLUE, "o"), _MATCHING: (ORANGE, "s")}
_DRAWS, _LEAST_ARMS, _LEAST_POINTS = 400, 3, 6


@dataclass(frozen=True)
class Agreement:
    """How far a metric agrees with the loss.

    Attributes:
        dataset: On which text.
        arms: Over which arms.
        metric: Which one.
        rank_correlation: Spearman's, with `-delta_loss`.
        low, high: Its interval; none where it does not exist.
        over_explained_variance: How much larger it is than that of explained variance.
        over_low, over_high: The interval of that.
        points: Arms and pairs of layers in all.
    """

    dataset: str
    arms: str
    metric: str
    rank_correlation: float
    low: float | None
    high: float | None
    over_explained_variance: float
    over_low: float | None
    over_high: float | None
    points: int


@dataclass(frozen=True)
class _Points:
    """Arms at pairs of layers, with all metrics that every one of them has.

    Attributes:
        metrics: Names.
        values: A metric a row.
        loss: Loss increase of each point.
        place: Number of each point in a grid of arms and pairs; -1 where the grid has none.
    """

    metrics: Sequence[str]
    values: Float64[np.ndarray, "metrics points"]
    loss: Float64[np.ndarray, " points"]
    place: Int64[np.ndarray, "arms pairs"]


def metric_agreement(outcome: Outcome) -> Iterator[Picture]:
    """Spearman's correlation of each metric with `-delta_loss`, by dataset. None with too few arms to tell.

    Intervals are 95 % bootstrap intervals that draw arms and pairs of layers, both with replacement: they say what
    other arms and layers would change. Of every metric the difference to explained variance is in the numbers, from the
    same draws.
    """
    rows = list(agreements(outcome.results))
    if not rows:
        return
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    figure, drawn = panels(len(datasets), height=3.2)
    metrics = [metric for metric in _METRICS if any(row.metric == metric for row in rows)]
    for panel, dataset in zip(drawn, datasets, strict=True):
        _draw(panel, [row for row in rows if row.dataset == dataset], metrics)
        titled(panel, dataset)
        panel.set(xlabel="rank correlation with the loss kept low\n(1 is perfect agreement)")
    add_legend(figure, drawn)
    yield Picture("metric_agreement", figure, [asdict(row) for row in rows])


def agreements(results: Results) -> Iterator[Agreement]:
    """For each dataset, over every arm and over those that match, how far metrics agree with the loss."""
    for dataset in results.select(metric=_LOSS).distinct("dataset"):
        of_dataset = results.select(dataset=dataset)
        for arms in (_EVERY, _MATCHING):
            points = _points(of_dataset, arms)
            if points is None:
                continue
            found, draws = _correlations(points), _drawn(points)
            reference = points.metrics.index(_FIRST)
            for number, metric in enumerate(points.metrics):
                apart = draws[:, number] - draws[:, reference]
                value, more = float(found[number]), float(found[number] - found[reference])
                ends, over = _ends(draws[:, number]), _ends(apart)
                size = len(points.loss)
                yield Agreement(dataset, arms, metric, value, ends[0], ends[1], more, over[0], over[1], size)


def _points(results: Results, arms: str) -> _Points | None:
    """Points that have the loss and all metrics that any of them has."""
    of: dict[str, dict[tuple[str, Pair], float]] = {}
    for row in results:
        if arms == _EVERY or row.arm in MATCHING_ARMS:
            of.setdefault(row.metric, {})[row.arm, (row.source_layer, row.target_layer)] = row.value
    wanted = (metric for metric in _METRICS if arms == _MATCHING or metric != _SCORE)
    metrics = [metric for metric in wanted if metric in of]
    if _FIRST not in metrics or len(metrics) < 2:
        return None
    keys = [
        key for key in of.get(_LOSS, {}) if all(np.isfinite(of[name].get(key, np.nan)) for name in (*metrics, _LOSS))
    ]
    names, pairs = ({key[part]: None for key in keys} for part in (0, 1))
    if len(names) < _LEAST_ARMS or len(keys) < _LEAST_POINTS:
        return None
    number: Mapping[tuple[object, object], int] = {key: place for place, key in enumerate(keys)}
    return _Points(
        metrics,
        np.array([[of[metric][key] for key in keys] for metric in metrics]),
        np.array([of[_LOSS][key] for key in keys]),
        np.array([[number.get((arm, pair), -1) for pair in pairs] for arm in names]),
    )


def _correlations(
    points: _Points, chosen: Int64[np.ndarray, " chosen"] | slice = slice(None)
) -> Float64[np.ndarray, " metrics"]:
    """Of each metric, over some of the points; nan where nothing differs."""
    ranks = rankdata(np.vstack([points.values, -points.loss])[:, chosen], axis=1)
    ranks = ranks - ranks.mean(1, keepdims=True)
    lengths = np.sqrt(np.square(ranks).sum(1))
    with np.errstate(invalid="ignore"):
        correlations: Float64[np.ndarray, " metrics"] = ranks[:-1] @ ranks[-1] / (lengths[:-1] * lengths[-1])
    return correlations


def _drawn(points: _Points) -> Float64[np.ndarray, "draws metrics"]:
    generator = np.random.default_rng(0)
    arms, pairs = points.place.shape
    found = []
    for _ in range(_DRAWS):
        grid = points.place[np.ix_(generator.integers(0, arms, arms), generator.integers(0, pairs, pairs))].ravel()
        found.append(_correlations(points, grid[grid >= 0]))
    return np.array(found)


def _ends(draws: Float64[np.ndarray, " draws"]) -> tuple[float, float] | tuple[None, None]:
    known = draws[np.isfinite(draws)]
    if len(known) <= _DRAWS // 2:
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _draw(panel: Axes, rows: Sequence[Agreement], metrics: Sequence[str]) -> None:
    for shift, (arms, (colour, marker)) in zip((-0.14, 0.14), _LOOKS.items(), strict=True):
        of_arms = [row for row in rows if row.arms == arms]
        if not of_arms:
            continue
        heights = [metrics.index(row.metric) + shift for row in of_arms]
        panel.plot(
            [row.rank_correlation for row in of_arms],
            heights,
            color=colour,
            marker=marker,
            linestyle="none",
            label=f"{arms} ({of_arms[0].points} points)",
        )
        for row, height in zip(of_arms, heights, strict=True):
            if row.low is not None and row.high is not None:
                panel.plot([row.low, row.high], [height, height], color=colour, linewidth=1.4)
    panel.axvline(0, color=GREY, linewidth=0.8)
    panel.set_yticks(
        range(len(metrics)),
        [_NAMES.get(metric, metric.replace("_", " ")) for metric in metrics],
    )
    panel.set_ylim(len(metrics) - 0.5, -0.5)
