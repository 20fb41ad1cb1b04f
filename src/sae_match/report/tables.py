"""Results arranged for people: charts by layer, a summary, tables for the terminal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from sae_match.evaluation.arm_names import CLEAN, MATCHED, order_of
from sae_match.evaluation.significance.over_features import Estimate
from sae_match.evaluation.statistics.differences import Difference, excludes_zero
from sae_match.evaluation.statistics.results import Result, Results, SpanResult

#: Metrics of the ladder, and what its columns call them.
LADDER = {
    "explained_variance": "explained variance",
    "delta_loss": "delta loss",
    "matching_score": "matching score",
}


#: Metrics that no single dimension owns, and the loss on a scale: a second ladder.
FORMS = {
    "explained_variance_by_dimension": "by dimension",
    "explained_variance_normed": "behind the norm",
    "loss_recovered": "loss recovered",
}
# Shares that are negative for some arms: with three digits behind the point their ladders would not fit a terminal.
_DIGITS = {"loss_recovered": 2, "explained_change": 2}
#: What arms explain of what the layers change.
CHANGE = {"explained_change": "explained change"}
# Of which metrics a ladder says how much more an arm has than `matched`, and what its columns call that.
_APART = {"explained_variance": "variance vs matched", "delta_loss": "loss vs matched"}
#: What people call a metric.
TITLES = {
    **LADDER,
    **CHANGE,
    "explained_variance_by_dimension": "explained variance by dimension",
    "explained_variance_normed": "explained variance behind the norm",
    "loss_recovered": "loss recovered",
}


def charts(results: Results) -> Iterator[tuple[int, dict[str, float]]]:
    """For each target layer, every number as `metric/dataset/arm`; with `/span_2` and so on beyond neighbours."""
    for layer in results.distinct("target_layer"):
        rows = results.select(target_layer=layer)
        yield (
            layer,
            {
                metric_name(row.metric, row.dataset, row.arm, row.target_layer - row.source_layer): row.value
                for row in rows
            },
        )


def summary(spans: Iterable[SpanResult]) -> dict[str, float]:
    """Mean over the pairs of layers of every metric, named as in `charts`, with its interval."""
    found: dict[str, float] = {}
    for row in spans:
        name = metric_name(row.metric, row.dataset, row.arm, row.span)
        found[name] = row.value
        if row.low is not None and row.high is not None:
            found[f"{name}/low"], found[f"{name}/high"] = row.low, row.high
    return found


def estimate_cell(found: Estimate) -> Text:
    """A number with its interval, as far as there is one."""
    ends = "" if found.low is None or found.high is None else f" {found.low:.3f}…{found.high:.3f}"
    return Text.assemble(f"{found.value:.3f}", (ends, "dim"))


def plain_table(first: str, *others: str, least: int | None = None) -> Table:
    """A table without rules and with narrow gaps, so that many columns fit a terminal of 80.

    Args:
        first: Title of the column of names.
        others: Titles of the columns of numbers.
        least: Least width of these.
    """
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", min_width=least)
    return table


def ladder(spans: Sequence[SpanResult], metrics: Mapping[str, str] = LADDER) -> Table:
    """Arms down, metrics across, each as mean over pairs of layers with its interval; of one span and dataset.

    Args:
        spans: The means.
        metrics: Which metrics, and what their columns are called.
    """
    table = plain_table("arm", *metrics.values())
    cells = {(row.arm, row.metric): with_interval(row) for row in spans}
    for arm in dict.fromkeys(row.arm for row in spans):
        style = "bold" if arm == MATCHED else None
        table.add_row(arm, *(cells.get((arm, metric), "") for metric in metrics), style=style)
    return table


def changes(spans: Sequence[SpanResult], differences: Sequence[Difference]) -> Table | None:
    """Arms down: explained change, and the differences from `matched`; of one span and dataset. None without both.

    Args:
        spans: The means.
        differences: Of means, from those of `matched`.
    """
    metrics = {metric: title for metric, title in CHANGE.items() if any(row.metric == metric for row in spans)}
    apart = {metric: title for metric, title in _APART.items() if any(row.metric == metric for row in differences)}
    if not metrics and not apart:
        return None
    table = plain_table("arm", *metrics.values(), *apart.values())
    cells = {(row.arm, row.metric): with_interval(row) for row in spans if row.metric in metrics}
    cells |= {(row.arm, row.metric): with_interval(row) for row in differences if row.metric in apart}
    for arm in dict.fromkeys(row.arm for row in spans):
        style = "bold" if arm == MATCHED else None
        table.add_row(arm, *(cells.get((arm, metric), "") for metric in (*metrics, *apart)), style=style)
    return table


def by_pair(results: Results, metric: str, dataset: str, most: int) -> Iterator[Table]:
    """Arms down, pairs of layers across, in tables of at most so many pairs."""
    chosen = results.select(metric=metric, dataset=dataset)
    arms = sorted({row.arm for row in chosen}, key=order_of)
    values = {(row.source_layer, row.target_layer, row.arm): row.value for row in chosen}
    pairs = sorted({(source, target) for source, target, _ in values})
    for start in range(0, len(pairs), most):
        shown = (f"{source}→{target}" for source, target in pairs[start : start + most])
        table = plain_table("arm", *shown, least=6)
        for arm in arms:
            cells = (values.get((*pair, arm)) for pair in pairs[start : start + most])
            style = "bold" if arm == MATCHED else None
            table.add_row(arm, *("" if cell is None else _rounded(cell, 3) for cell in cells), style=style)
        yield table


def distance_of(span: int) -> str:
    """Pairs of layers at a distance, for people."""
    return {0: "the same layer in both collections", 1: "neighbours"}.get(span, f"layers {span} apart")


def clean_loss(results: Results, dataset: str) -> float:
    """Loss of the unaltered model in nats per token."""
    return results.select(arm=CLEAN, metric="loss", dataset=dataset).rows[0].value


def with_interval(row: Result | SpanResult | Difference, *, apart: bool = False) -> Text:
    """A mean and its interval, the latter dim; as a difference if it is `apart`, or by itself is one."""
    value, interval = mean_and_interval(row, apart=apart)
    return Text.assemble(value, (f" {interval}" if interval else "", "dim"))


def mean_and_interval(row: Result | SpanResult | Difference, *, apart: bool = False) -> tuple[str, str]:
    """A mean, and its interval, empty where there is none; a difference with its sign, and `~` where it may be none."""
    digits = _DIGITS.get(row.metric, 3)
    ends = "" if row.low is None or row.high is None else f"{_short(row.low, digits)}…{_short(row.high, digits)}"
    value = _short(row.value, digits)
    if apart or isinstance(row, Difference):
        sign = "" if value.startswith("-") else "+"
        value = f"{'' if excludes_zero(row.low, row.high) else '~'}{sign}{value}"
    return value, ends


def _short(value: float, digits: int) -> str:
    """A number, with fewer digits behind the point where there are more before it."""
    return _rounded(value, digits if abs(value) < 9.9 else 1)


def _rounded(value: float, digits: int) -> str:
    # What is rounded to zero has no sign.
    return f"{round(value, digits) + 0.0:.{digits}f}"


def metric_name(metric: str, dataset: str, arm: str, span: int) -> str:
    """What charts and summaries call a number: `explained_variance/prose/matched`, `…/span_2` beyond neighbours."""
    name = f"{metric}/{dataset}/{arm}"
    return name if span == 1 else f"{name}/span_{span}"
