"""Means over runs that differ in seeds alone, such as those that SAEs were trained with, and how sure these are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import t as student

from sae_match.errors import UserError
from sae_match.evaluation.statistics.results import SpanResult
from sae_match.report.comparison.joining import Joined, is_below
from sae_match.report.comparison.wording import words
from sae_match.report.runs import Setting

#: Runs below which there is no interval: of two, Student's t says next to nothing.
FEWEST = 3


@dataclass(frozen=True)
class SeedMean:
    """A number as the mean over runs that differ in seeds alone.

    Attributes:
        runs: How many.
        settings: What tells them from other runs of the comparison.
        mean: The mean; its 95 % interval, by Student's t over runs, says what other seeds would change, and nothing of
            documents. None of fewer than `FEWEST` runs.
        deviation: Standard deviation over runs; none of one.
    """

    runs: int
    settings: Mapping[str, Setting]
    mean: SpanResult
    deviation: float | None

    @property
    def about(self) -> str:
        """The settings in words."""
        return words(self.settings)

    def row(self) -> dict[str, object]:
        """As a row of a table."""
        found = asdict(self.mean)
        found.pop("pairs")
        return {"seeds": self.runs, **self.settings, **found, "deviation": self.deviation}


def over_seeds(joined: Joined, seeds: Sequence[str]) -> tuple[list[SeedMean], list[str]]:
    """Means over runs that have all settings alike but some, and a line for each kind of runs that has too few.

    Args:
        joined: The runs.
        seeds: Names of the settings over which a mean is taken, or what their names begin with: `sae.source`.

    Raises:
        UserError: If the runs do not differ in one of them.
    """
    if not seeds:
        return [], []
    for name in seeds:
        if not any(is_below(differing, (name,)) for differing in joined.differing):
            differ = ", ".join(joined.differing) or "nothing"
            raise UserError(f"over: the runs do not differ in {name!r}; they differ in {differ}")
    kinds: dict[str, list[int]] = {}
    for number in range(len(joined.runs)):
        kinds.setdefault(words(_others(joined, number, seeds)), []).append(number)
    means = [one for numbers in kinds.values() for one in _means(joined, numbers, seeds)]
    notes = [
        f"{f'{about}: ' if about else ''}{len(numbers)} run{'s' * (len(numbers) > 1)} over {', '.join(seeds)}: too few "
        f"for an interval over seeds, which takes at least {FEWEST}"
        for about, numbers in kinds.items()
        if len(numbers) < FEWEST
    ]
    return means, notes


def _others(joined: Joined, number: int, seeds: Sequence[str]) -> dict[str, Setting]:
    """What tells a run apart besides seeds."""
    return {name: value for name, value in joined.settings(number).items() if not is_below(name, seeds)}


def _means(joined: Joined, numbers: Sequence[int], seeds: Sequence[str]) -> list[SeedMean]:
    found: dict[tuple[int, str, str, str], list[SpanResult]] = {}
    for number in numbers:
        for row in joined.runs[number].spans:
            if math.isfinite(row.value):
                found.setdefault((row.span, row.arm, row.dataset, row.metric), []).append(row)
    settings = _others(joined, numbers[0], seeds)
    return [_mean(settings, rows) for rows in found.values()]


def _mean(settings: Mapping[str, Setting], rows: Sequence[SpanResult]) -> SeedMean:
    values = np.array([row.value for row in rows])
    mean, first, runs = float(values.mean()), rows[0], len(values)
    deviation = float(values.std(ddof=1)) if runs > 1 else None
    low = high = None
    if deviation is not None and runs >= FEWEST:
        half = float(student.ppf(0.975, runs - 1)) * deviation / math.sqrt(runs)
        low, high = mean - half, mean + half
    whole = SpanResult(first.span, first.arm, first.dataset, first.metric, mean, low, high, first.pairs)
    return SeedMean(runs, settings, whole, deviation)
