"""Paired differences: which of two is better, by the replicates of their difference on the same documents.

All arms of a run, and all runs on the same documents, are counted by the same draws. What moves both alike is not in
their difference, whose interval is narrower than a look at two intervals, and whether they overlap, would tell.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from sae_match.bootstrap import intervals
from sae_match.evaluation.arm_names import MATCHED, order_of
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.replicates import Replicates
from sae_match.evaluation.statistics.results import SpanResult
from sae_match.files import write_rows

# Arms that run through the model in other company may differ by less, and by nothing else than rounding.
_ROUNDING = 1e-5

Rows = Float64[Tensor, " rows"]
_Numbers = Mapping[Pair, Rows]
"""A number of each pair of layers."""
_Group = tuple[int, str, str]
"""Distance, dataset, metric."""


@dataclass(frozen=True)
class Difference:
    """How much larger a metric is under an arm than under another one.

    Attributes:
        span: Distance of the two layers.
        source_layer, target_layer: The pair of layers; none of a mean over all pairs at that distance.
        arm: The arm.
        than: The other one; `matched` where it is one of the two.
        dataset, metric: Of what.
        value: The metric of `arm` less that of `than`.
        low, high: 95 % interval, none where there is none.
        pairs: Pairs of layers that it is taken over.
        differs: Whether the interval excludes zero, by more than rounding.
    """

    span: int
    source_layer: int | None
    target_layer: int | None
    arm: str
    than: str
    dataset: str
    metric: str
    value: float
    low: float | None
    high: float | None
    pairs: int
    differs: bool


def differences_of(found: Replicates) -> Iterator[Difference]:
    """Differences of every two arms on the same dataset: of means over pairs of layers first, then of each pair.

    A mean is over the pairs of layers at which both arms have the number.
    """
    groups = _by_arm(found)
    for group, arms in groups.items():
        couples = list(combinations(sorted(arms, key=_place), 2))
        means = {(arm, than): _mean(arms[arm], arms[than]) for than, arm in couples}
        yield from _told(found, group, None, {names: mean for names, mean in means.items() if mean[1]})
    for group, arms in groups.items():
        couples = list(combinations(sorted(arms, key=_place), 2))
        for pair in dict.fromkeys(pair for numbers in arms.values() for pair in numbers):
            of = {
                (arm, than): (arms[arm][pair] - arms[than][pair], 1)
                for than, arm in couples
                if pair in arms[arm] and pair in arms[than]
            }
            yield from _told(found, group, pair, of)


def differences_between(first: Replicates, other: Replicates) -> Iterator[SpanResult]:
    """How much larger the means of a run are than those of another, on the datasets that are the same documents.

    Means are over the pairs of layers that both have. Of runs that count documents by other draws nothing is said.

    Args:
        first: What is taken away.
        other: What it is taken from.
    """
    ours, theirs = _by_arm(first), _by_arm(other)
    for group, arms in theirs.items():
        span, dataset, metric = group
        if group not in ours or not is_paired(first, other, dataset):
            continue
        of = {arm: _mean(arms[arm], ours[group][arm]) for arm in sorted(arms, key=order_of) if arm in ours[group]}
        of = {arm: mean for arm, mean in of.items() if mean[1]}
        for (arm, (rows, pairs)), (low, high) in zip(of.items(), _ends(other, dataset, of.values()), strict=True):
            yield SpanResult(span, arm, dataset, metric, float(rows[0]), low, high, pairs)


def is_paired(first: Replicates, other: Replicates, dataset: str) -> bool:
    """Whether two runs have seen the same documents of a dataset, and count them by the same draws."""
    text = first.texts.get(dataset)
    return text is not None and text == other.texts.get(dataset) and first.seed == other.seed


def excludes_zero(low: float | None, high: float | None) -> bool:
    """Whether an interval of a difference excludes zero, by more than rounding."""
    return low is not None and high is not None and (low > _ROUNDING or high < -_ROUNDING)


def save_differences(differences: Iterable[Difference], path: Path) -> None:
    """Write as CSV; floats keep all their digits."""
    write_rows(path, map(asdict, differences), [field.name for field in fields(Difference)])


def _by_arm(found: Replicates) -> dict[_Group, dict[str, dict[Pair, Rows]]]:
    """Numbers that exist, by what can be compared."""
    groups: dict[_Group, dict[str, dict[Pair, Rows]]] = {}
    for number, rows in found.values.items():
        if bool(rows[0].isfinite()):
            group = groups.setdefault((number.span, number.dataset, number.metric), {})
            group.setdefault(number.arm, {})[number.pair] = rows
    return groups


def _place(arm: str) -> tuple[bool, tuple[int, float], str]:
    """Order in which an arm is compared with those before it: everything with `matched`."""
    return arm != MATCHED, order_of(arm), arm


def _mean(one: _Numbers, other: _Numbers) -> tuple[Rows, int]:
    """Mean of the differences at the pairs of layers that both have, and how many these are."""
    both = [pair for pair in one if pair in other]
    apart = [one[pair] - other[pair] for pair in both]
    return (torch.stack(apart).nanmean(0) if apart else torch.empty(0, dtype=torch.float64)), len(both)


def _told(
    found: Replicates, group: _Group, pair: Pair | None, of: Mapping[tuple[str, str], tuple[Rows, int]]
) -> Iterator[Difference]:
    span, dataset, metric = group
    source, target = (None, None) if pair is None else pair
    for ((arm, than), (rows, pairs)), (low, high) in zip(of.items(), _ends(found, dataset, of.values()), strict=True):
        value, differs = float(rows[0]), excludes_zero(low, high)
        yield Difference(span, source, target, arm, than, dataset, metric, value, low, high, pairs, differs)


def _ends(
    found: Replicates, dataset: str, of: Iterable[tuple[Rows, int]]
) -> Sequence[tuple[float, float] | tuple[None, None]]:
    """Intervals of differences; none where there is one document only."""
    rows = [one for one, _ in of]
    if not rows or found.documents.get(dataset, 0) < 2:
        return [(None, None)] * len(rows)
    return [ends or (None, None) for ends in intervals(torch.stack(rows))]
