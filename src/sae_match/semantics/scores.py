"""What a judge's labels say: counts, mean scores with intervals, agreement of two judges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from sae_match.bootstrap import bootstrap_weights, interval
from sae_match.semantics.judge.verdicts import LABELS

# What paths belong to, for the bootstrap.
_PATHS = "paths"


@dataclass(frozen=True)
class Score:
    """Mean score of some questions, with its 95 % interval by bootstrap over paths.

    Attributes:
        value: Mean, from 1 to 3; nan without any label.
        low, high: Ends of the interval; none where there is one path only, or no other paths would change the mean.
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
        paths: Number of the path that each question is about. The bootstrap draws whole paths.
        seed: Of the draws.
    """
    several = [sum(label == wanted for label in labels) for wanted in (*LABELS, None)]
    counts = (several[0], several[1], several[2], several[3])
    values = np.asarray(scores, dtype=float)
    known = np.isfinite(values)
    if not known.any():
        return Score(math.nan, None, None, counts, 0)
    numbers, path = np.unique(np.asarray(paths)[known], return_inverse=True)
    sums, sizes = np.bincount(path, values[known]), np.bincount(path).astype(float)
    weights = _weights(numbers, seed)
    with np.errstate(invalid="ignore"):
        means = (weights @ sums) / (weights @ sizes)
    low, high = _ends(means, len(numbers))
    return Score(float(means[0]), low, high, counts, len(numbers))


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of two raters, with its 95 % interval by bootstrap over paths.

    Attributes:
        value: 1 for agreement throughout, 0 for as much as by chance; nan where chance leaves nothing to explain.
        low, high: Ends of the interval; none where there is none, one path only, or nothing that paths would change.
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
        paths: Number of the path that each question is about. The bootstrap draws whole paths.
        seed: Of the draws.
    """
    both = [(a, b, path) for a, b, path in zip(first, second, paths, strict=True) if a is not None and b is not None]
    if not both:
        return Kappa(math.nan, None, None, math.nan, 0)
    numbers, path = np.unique([path for _, _, path in both], return_inverse=True)
    tables = np.zeros((len(numbers), 3, 3))
    for (a, b, _), number in zip(both, path, strict=True):
        tables[number, a - 1, b - 1] += 1
    kappas = _kappas(np.tensordot(_weights(numbers, seed), tables, 1))
    value, agreement = float(kappas[0]), float(np.trace(tables.sum(0)) / len(both))
    low, high = _ends(kappas, len(numbers)) if math.isfinite(value) else (None, None)
    return Kappa(value, low, high, agreement, len(both))


def _weights(paths: np.ndarray, seed: int) -> Float64[np.ndarray, "rows paths"]:
    """How often each path counts, in the sample and in each replicate."""
    return bootstrap_weights(_PATHS, paths.tolist(), seed).numpy()


def _ends(values: Float64[np.ndarray, " rows"], paths: int) -> tuple[float, float] | tuple[None, None]:
    """Ends of the interval of a number, of which there is none over a single path."""
    found = interval(torch.from_numpy(values)) if paths > 1 else None
    return (None, None) if found is None else found


def _kappas(tables: Float64[np.ndarray, "rows 3 3"]) -> Float64[np.ndarray, " rows"]:
    """Kappa of each table; nan where it is empty, or chance leaves nothing to explain."""
    total = tables.sum((1, 2))
    with np.errstate(invalid="ignore"):
        observed = np.trace(tables, axis1=1, axis2=2) / total
        expected = (tables.sum(1) * tables.sum(2)).sum(1) / total**2
        return np.where(expected == 1, math.nan, (observed - expected) / (1 - expected))
