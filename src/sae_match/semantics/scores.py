"""What a judge's labels say: counts, mean scores with intervals, agreement of two judges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sae_match.semantics.judge.verdicts import LABELS

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
    weights = _draws(len(sums), seed)
    low, high = np.percentile((weights @ sums) / (weights @ sizes), _PERCENTILES)
    return Score(mean, float(low), float(high), counts, len(sums))


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of two raters, with its 95 % interval by bootstrap over paths.

    Attributes:
        value: 1 for agreement throughout, 0 for as much as by chance; nan where chance leaves nothing to explain.
        low, high: Ends of the interval; none where there is none, or one path only.
        agreement: Share of questions with equal labels.
        questions: Those that both have labelled.
    """

    value: float
    low: float | None
    high: float | None
    agreement: float
    questions: int


def kappa(first: Sequence[int | None], second: Sequence[int | None], paths: Sequence[int], seed: int = 0) -> Kappa:
    """Agreement of two raters on the same questions; those that one left open are left out.

    Args:
        first: Labels of one, a question each.
        second: Labels of the other.
        paths: Which path each question is about. Paths are drawn with replacement, with all their questions.
        seed: Of the draws.
    """
    both = [(a, b, path) for a, b, path in zip(first, second, paths, strict=True) if a is not None and b is not None]
    if not both:
        return Kappa(math.nan, None, None, math.nan, 0)
    _, path = np.unique([path for _, _, path in both], return_inverse=True)
    tables = np.zeros((path.max() + 1, 3, 3))
    for (a, b, _), number in zip(both, path, strict=True):
        tables[number, a - 1, b - 1] += 1
    table = tables.sum(0)
    value, agreement = _kappa(table), float(np.trace(table) / table.sum())
    weights = _draws(len(tables), seed)
    replicates = np.asarray([_kappa(np.tensordot(drawn, tables, 1)) for drawn in weights])
    replicates = replicates[np.isfinite(replicates)]
    if not math.isfinite(value) or len(tables) < 2 or len(replicates) < _REPLICATES // 2:
        return Kappa(value, None, None, agreement, len(both))
    low, high = np.percentile(replicates, _PERCENTILES)
    return Kappa(value, float(low), float(high), agreement, len(both))


def _draws(paths: int, seed: int) -> np.ndarray:
    """How often each path is drawn, in each replicate."""
    return np.random.default_rng(seed).multinomial(paths, np.full(paths, 1 / paths), _REPLICATES)


def _kappa(table: np.ndarray) -> float:
    total = table.sum()
    observed, expected = np.trace(table) / total, float(table.sum(0) @ table.sum(1)) / total**2
    return math.nan if expected == 1 else float((observed - expected) / (1 - expected))
