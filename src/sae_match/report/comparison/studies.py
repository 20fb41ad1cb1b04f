"""Runs that are one study in parts: of the same settings, but with other arms or distances."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TypeVar

from sae_match.evaluation.statistics.results import Result, Results, SpanResult
from sae_match.report.runs import Run

# What is found of a number, and not what it is of.
_FOUND = ("value", "low", "high", "tokens", "documents", "pairs")
# How far apart the same number of two runs may be: arms that run through the model in other company round otherwise.
_TOLERANCE = 1e-3

_Key = tuple[object, ...]
_Row = TypeVar("_Row", Result, SpanResult)


def studies(runs: Sequence[Run], settings: Sequence[str]) -> list[list[int]]:
    """Numbers of the runs that each study consists of, in the order of their first ones.

    Runs belong together that have the same settings and have not measured the same, where what both
    have measured came out the same. A run that repeats another one is a study of its own.

    Args:
        runs: Of one model on one kind of text.
        settings: What tells each run apart, in words.
    """
    found: list[list[int]] = []
    for number, run in enumerate(runs):
        alike = (study for study in found if settings[study[0]] == settings[number])
        fitting = (study for study in alike if all(_complete_each_other(runs[one], run) for one in study))
        study = next(fitting, None)
        if study is None:
            found.append([number])
        else:
            study.append(number)
    return found


def whole(parts: Sequence[Run]) -> Run:
    """A study as one run, with every number once; folder and settings are those of its first part."""
    results = _once(row for part in parts for row in part.results)
    spans = _once(row for part in parts for row in part.spans)
    replicates = tuple(file for part in parts for file in part.replicates)
    return replace(parts[0], results=Results(results), spans=spans, replicates=replicates)


def _once(rows: Iterable[_Row]) -> list[_Row]:
    found: dict[_Key, _Row] = {}
    for row in rows:
        found.setdefault(_key(row), row)
    return list(found.values())


def _complete_each_other(one: Run, other: Run) -> bool:
    first, second = _measured(one), _measured(other)
    return first.keys() != second.keys() and all(
        _is_same(first[key], second[key]) for key in first.keys() & second.keys()
    )


def _measured(run: Run) -> Mapping[_Key, float]:
    return {_key(row): row.value for row in (*run.results, *run.spans)}


def _key(row: Result | SpanResult) -> _Key:
    return type(row), *(getattr(row, field.name) for field in fields(row) if field.name not in _FOUND)


def _is_same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) or (math.isnan(one) and math.isnan(other))
