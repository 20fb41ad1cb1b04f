"""The metrics (`evaluation/README.md`), with their intervals, from what a validation has added up."""

import math
from collections.abc import Iterator, Mapping
from itertools import groupby

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from sae_match.bootstrap import interval
from sae_match.errors import UserError
from sae_match.evaluation.arm_names import (
    CLEAN,
    MATCHED,
    MATCHING_ARMS,
    MEAN,
    RECONSTRUCT_SOURCE,
    RECONSTRUCT_TARGET,
    order_of,
)
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.forms import explained_variance_in
from sae_match.evaluation.statistics.layout import ArmKey
from sae_match.evaluation.statistics.results import Result, SpanResult
from sae_match.evaluation.statistics.streaming import (
    explained_change,
    explained_variance,
    explained_variance_mse,
    jaccard,
    macro_score,
    necessity,
    sufficiency,
)
from sae_match.evaluation.statistics.tally import Tally

_OF_ERRORS = {"explained_variance": explained_variance, "explained_variance_mse": explained_variance_mse}
_OF_PAIRS = {"matching_score": sufficiency, "necessity": necessity, "jaccard": jaccard}

_Measure = tuple[str, Float64[Tensor, " rows"], int]
"""Name of a metric, its value for the sample and each replicate, and the tokens it is taken over."""


def results_of(tally: Tally) -> Iterator[Result]:
    """Every metric of every pair, arm and dataset."""
    for pair in tally.layout.pairs:
        for dataset in _measured(tally):
            yield from _of_clean(tally, pair, dataset)
    for key in _runs(tally):
        for metric, values, tokens in _measures(tally, key):
            yield _result(tally, key, metric, values, tokens)
        if key[1] in MATCHING_ARMS:
            yield _macro(tally, key)


def spans_of(tally: Tally) -> Iterator[SpanResult]:
    """What arms and datasets are compared by, as the mean over the pairs of layers at the same distance.

    Pairs without the number (no source feature was ever active) are left out. The bootstrap's replicates
    draw the same documents for all pairs, so that the interval is that of the mean.
    """

    def group(run: ArmKey) -> tuple[int, int, tuple[int, float], str]:
        (source, target), arm, dataset = run
        return target - source, tally.layout.datasets.index(dataset), order_of(arm), arm

    for (span, number, _, arm), runs in groupby(sorted(_runs(tally), key=group), key=group):
        dataset = tally.layout.datasets[number]
        found: dict[str, list[Tensor]] = {}
        for run in runs:
            for metric, values, _ in _measures(tally, run):
                found.setdefault(metric, []).extend([values] if values[0].isfinite() else [])
        for metric, several in found.items():
            if not several:
                continue
            mean = torch.stack(several).nanmean(0)
            low, high = _ends(tally, dataset, mean, _most_of(metric))
            yield SpanResult(span, arm, dataset, metric, float(mean[0]), low, high, len(several))


def numbers_of(tally: Tally) -> Iterator[tuple[ArmKey, str, Float64[Tensor, " rows"]]]:
    """Every number of an arm that rests on a sample of documents, with its replicates."""
    for key in _runs(tally):
        for metric, values, _ in _measures(tally, key):
            yield key, metric, values


def so_far(tally: Tally, dataset: str) -> dict[str, float]:
    """Of each arm on a dataset, without intervals, as means over pairs of layers: what a run can be followed by."""
    found: dict[str, list[Tensor]] = {}
    for key in _runs(tally):
        if key[2] == dataset:
            loss, clean = tally.loss(key)[0], tally.clean_loss(dataset)[0]
            found.setdefault(f"{dataset}/{key[1]}/delta_loss", []).append((loss[0] - clean[0]) / clean[1])
    means = [torch.stack(several).mean() for several in found.values()]
    # One copy to the host for all of them.
    return dict(zip(found, torch.stack(means).tolist(), strict=True)) if means else {}


def objective_of(tally: Tally) -> float | None:
    """The delta loss of `matched` as the mean over datasets and pairs of layers, lower being better.

    None where that arm was not measured, on any text.
    """
    losses = [
        value
        for dataset in _measured(tally)
        for name, value in so_far(tally, dataset).items()
        if name == f"{dataset}/{MATCHED}/delta_loss"
    ]
    return sum(losses) / len(losses) if losses else None


def _runs(tally: Tally) -> list[ArmKey]:
    measured = _measured(tally)
    runs = (run for run in tally.layout.runs() if run[2] in measured)
    return sorted(runs, key=lambda run: (run[0], order_of(run[1]), measured.index(run[2])))


def _measured(tally: Tally) -> list[str]:
    """Datasets of which something was measured."""
    return [dataset for dataset in tally.layout.datasets if tally.documents(dataset)]


def _of_clean(tally: Tally, pair: Pair, dataset: str) -> Iterator[Result]:
    loss = tally.clean_loss(dataset)
    yield _result(tally, (pair, CLEAN, dataset), "loss", loss[:, 0] / loss[:, 1], int(loss[0, 1]))
    for arm, layer in zip((RECONSTRUCT_SOURCE, RECONSTRUCT_TARGET), tally.layout.ends(pair), strict=True):
        key, (active, tokens) = (pair, arm, dataset), tally.l0((layer, dataset)).T
        yield _result(tally, key, "l0", active / tokens, int(tokens[0]))
        norm = tally.residual((layer, dataset)).mean_square.sqrt()
        yield _result(tally, key, "residual_norm", norm, int(tokens[0]))
        dead = float((tally.active((layer, dataset)) == 0).double().mean())
        yield _plain(tally, key, "dead_features", dead, int(tokens[0]))
        if tally.layout.forms:
            yield _result(tally, key, "extreme_tokens", tally.extreme((layer, dataset)) / tokens, int(tokens[0]))
            share = tally.form("by_dimension", (layer, dataset)).largest_share
            yield _plain(tally, key, "largest_dimension", share, int(tokens[0]))


def _measures(tally: Tally, key: ArmKey) -> Iterator[_Measure]:
    pair, arm, dataset = key
    loss, clean = tally.loss(key), tally.clean_loss(dataset)
    yield "delta_loss", (loss[:, 0] - clean[:, 0]) / clean[:, 1], int(loss[0, 1])
    source, target = tally.layout.ends(pair)
    residual, error = tally.residual((target, dataset)), tally.error(key)
    for name, measure in _OF_ERRORS.items():
        yield name, measure(residual, error), error.count
    if tally.layout.changes_in(pair):
        yield "explained_change", explained_change(tally.change(key), error), error.count
    for form in tally.layout.forms:
        x, apart = tally.form(form, (target, dataset)), tally.form(form, key)
        yield f"explained_variance_{form}", explained_variance_in(form, x, apart), int(x.count[0])
    if MEAN in tally.layout.arms:
        yield "loss_recovered", _recovered(loss, tally.loss((pair, MEAN, dataset)), clean), int(loss[0, 1])
    if arm in MATCHING_ARMS:
        together, tokens = tally.together(key), int(tally.l0((source, dataset))[0, 1])
        for name, score in _OF_PAIRS.items():
            yield name, score(together), tokens


def _macro(tally: Tally, key: ArmKey) -> Result:
    (source, _), dataset = tally.layout.ends(key[0]), key[2]
    value = macro_score(tally.joint(key), tally.active((source, dataset)))
    return _plain(tally, key, "matching_score_macro", value, int(tally.l0((source, dataset))[0, 1]))


def _recovered(
    loss: Float64[Tensor, "rows two"], mean: Float64[Tensor, "rows two"], clean: Float64[Tensor, "rows two"]
) -> Float64[Tensor, " rows"]:
    """Of the loss that the mean in place of the residual costs, what an arm saves; nan where the mean costs none.

    Replicates of few documents in which chance saves more than all of it stay as they are, since differences are made
    of them; only an interval that is shown ends at 1 (`_ends`).
    """
    most = mean[:, 0] - clean[:, 0]
    return torch.where(most > 0, 1 - (loss[:, 0] - clean[:, 0]) / most, torch.nan)


def _plain(tally: Tally, key: ArmKey, metric: str, value: float, tokens: int) -> Result:
    """A number without an interval."""
    (source, target), arm, dataset = key
    return Result(source, target, arm, dataset, metric, value, None, None, tokens, tally.documents(dataset))


def _result(tally: Tally, key: ArmKey, metric: str, values: Float64[Tensor, " rows"], tokens: int) -> Result:
    (source, target), arm, dataset = key
    low, high = _ends(tally, dataset, values, _most_of(metric))
    value, documents = float(values[0]), tally.documents(dataset)
    return Result(source, target, arm, dataset, metric, value, low, high, tokens, documents)


def _most_of(metric: str) -> float:
    """The most that a metric can be, where chance in few documents may lead beyond: of the loss, all is recovered."""
    return 1.0 if metric == "loss_recovered" else math.inf


def _ends(
    tally: Tally, dataset: str, values: Float64[Tensor, " rows"], most: float
) -> tuple[float, float] | tuple[None, None]:
    """Ends of the interval, at most so high if the number itself is; none with one document only, or no number."""
    found = interval(values) if tally.documents(dataset) > 1 and math.isfinite(float(values[0])) else None
    if found is None:
        return None, None
    low, high = found
    return low, min(high, most) if float(values[0]) <= most else high


def refuse_not_finite(finite: Mapping[str, Bool[Tensor, ""]], dataset: str) -> None:
    """Check that losses are numbers: of others no mean says anything.

    Args:
        finite: By what they are losses of, whether they are; asked for at one time, as the host waits for it.
        dataset: Of the documents.

    Raises:
        UserError: If they are not; names the first.
    """
    found = torch.stack(list(finite.values())).tolist() if finite else []
    if not all(found):
        first = list(finite)[found.index(False)]
        raise UserError(
            f"{first}, {dataset}: the loss is not finite; the residual stream overflows where model.dtype is too small "
            "for it, or weights are not sound"
        )
