"""What a judge's labels say: counts, mean scores with intervals, agreement of two judges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LABELS = (1, 2, 3)
_REPLICATES = 1000
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Score:
    """Mean score of some questions, with its 95 % interval by bootstrap over paths.

    Attributes:
        value: Mean, from 1 to 3; nan without any label.
        low, high: Ends of the interval; none where there is one path only.
        counts: Questions with label 1, 2 and 3, and without one.
        paths: Paths that the labelled questions come from.
    """

    value: float
    low: float | None
    high: float | None
    counts: tuple[int, int, int, int]
    paths: int


def score(scores: Sequence[float], labels: Sequence[int | None], paths: Sequence[int], seed: int = 0) -> Score:
    """Mean of scores, nan left out.

    Args:
        scores: Of each question; nan where a judge gave no label.
        labels: Of each question.
        paths: Which path each question is about. Paths are drawn with replacement, with all their questions.
        seed: Of the draws.
    """
    several = [sum(label == wanted for label in labels) for wanted in (*LABELS, None)]
    counts = (several[0], several[1], several[2], several[3])
    values = np.asarray(scores, dtype=float)
    known = np.isfinite(values)
    if not known.any():
        return Score(math.nan, None, None, counts, 0)
    _, path = np.unique(np.asarray(paths)[known], return_inverse=True)
    sums, sizes = np.bincount(path, values[known]), np.bincount(path).astype(float)
    mean = float(sums.sum() / sizes.sum())
    if len(sums) < 2:
        return Score(mean, None, None, counts, len(sums))
    weights = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), _REPLICATES)
    low, high = np.percentile((weights @ sums) / (weights @ sizes), _PERCENTILES)
    return Score(mean, float(low), float(high), counts, len(sums))


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of two raters, with its 95 % interval by bootstrap over questions.

    Attributes:
        value: 1 for agreement throughout, 0 for as much as by chance; nan where chance leaves nothing to explain.
        low, high: Ends of the interval; none where there is none.
        agreement: Share of questions with equal labels.
        questions: Those that both have labelled.
    """

    value: float
    low: float | None
    high: float | None
    agreement: float
    questions: int


def kappa(first: Sequence[int | None], second: Sequence[int | None], seed: int = 0) -> Kappa:
    """Agreement of two raters on the same questions; those that one left open are left out."""
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not both:
        return Kappa(math.nan, None, None, math.nan, 0)
    table = np.zeros((3, 3))
    for a, b in both:
        table[a - 1, b - 1] += 1
    value = _kappa(table)
    agreement = float(np.trace(table) / table.sum())
    # A draw of questions is a draw of cells of the table.
    draws = np.random.default_rng(seed).multinomial(len(both), table.ravel() / table.sum(), _REPLICATES)
    replicates = np.asarray([_kappa(draw.reshape(3, 3)) for draw in draws])
    replicates = replicates[np.isfinite(replicates)]
    if not math.isfinite(value) or len(replicates) < _REPLICATES // 2:
        return Kappa(value, None, None, agreement, len(both))
    low, high = np.percentile(replicates, _PERCENTILES)
    return Kappa(value, float(low), float(high), agreement, len(both))


def _kappa(table: np.ndarray) -> float:
    total = table.sum()
    observed, expected = np.trace(table) / total, float(table.sum(0) @ table.sum(1)) / total**2
    return math.nan if expected == 1 else float((observed - expected) / (1 - expected))
