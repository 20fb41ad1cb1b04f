"""How runs differ from the first of them, by the replicates that each has kept of its numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sae_match.errors import UserError
from sae_match.evaluation.statistics.differences import differences_between, is_paired
from sae_match.evaluation.statistics.replicates import Replicates
from sae_match.evaluation.statistics.results import SpanResult
from sae_match.report.comparison.joining import Joined
from sae_match.report.runs import Run
from sae_match.strings import reason_of


def from_first(joined: Joined) -> tuple[list[tuple[int, SpanResult]], list[str]]:
    """Paired differences of every run from the first, with its number; and a line for each that has none, and why."""
    rows: list[tuple[int, SpanResult]] = []
    if len(joined.runs) < 2:
        return rows, []
    name = joined.names[0]
    try:
        first = replicates_of(joined.runs[0])
    except UserError as error:
        return rows, [f"{name}: {reason_of(error)}: no run has a paired difference from it"]
    notes = []
    for number, run in list(enumerate(joined.runs))[1:]:
        try:
            other = replicates_of(run)
        except UserError as error:
            notes.append(f"{joined.names[number]}: {reason_of(error)}: no paired difference from {name}")
            continue
        rows += [(number, row) for row in differences_between(first, other)]
        notes += [
            f"{joined.names[number]}: {reason}: no paired difference from {name} there"
            for reason in _unpaired(first, other)
        ]
    return rows, notes


def replicates_of(run: Run) -> Replicates:
    """What a run has kept of its numbers; of a study in parts, of all of them.

    Raises:
        UserError: If it has kept none, a file is not sound, or parts are of other documents.
    """
    if not run.replicates:
        raise UserError("it keeps no replicates")
    return _together([Replicates.load(file) for file in run.replicates], run.replicates)


def _together(parts: Sequence[Replicates], files: Sequence[Path]) -> Replicates:
    whole = parts[0]
    for part, file in zip(parts[1:], files[1:], strict=True):
        both = whole.texts.keys() & part.texts.keys()
        if not all(is_paired(whole, part, dataset) for dataset in both) or whole.seed != part.seed:
            raise UserError(f"{file} is of other documents than {files[0]}")
        whole = replace(
            whole,
            values={**part.values, **whole.values},
            documents={**part.documents, **whole.documents},
            texts={**part.texts, **whole.texts},
        )
    return whole


def _unpaired(first: Replicates, other: Replicates) -> Iterator[str]:
    """Why there is no difference, of the datasets that both have."""
    both = [dataset for dataset in first.texts if dataset in other.texts]
    others = [dataset for dataset in both if first.texts[dataset] != other.texts[dataset]]
    if others:
        yield f"other documents of {', '.join(others)}"
    elif both and first.seed != other.seed:
        yield f"other draws of the same documents (evaluation.seed={other.seed} instead of {first.seed})"
