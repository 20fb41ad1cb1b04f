"""Tables that runs have left, as pandas has them; and one row a pair of features where there was one a dataset."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet as pq

from sae_match.errors import UserError
from sae_match.strings import csv_text, reason_of

#: Columns of a table of pairs that are measured on text: a value for each dataset.
MEASURED = (
    "source_active",
    "target_active",
    "both_active",
    "sufficiency",
    "necessity",
    "jaccard",
    "either_active",
    "activations",
)
_TEXT = ("arm", "dataset", "metric", "solver", "source_collection", "target_collection")
_DATASET, _FEATURE = "dataset", "source_feature"
_LABELS = ["source_label", "target_label"]
_ENDS = ["source_layer", "target_layer", "source_feature", "target_feature"]


def parquet_table(file: Path) -> pandas.DataFrame:
    """A Parquet file that a run has left.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        return pq.read_table(file).to_pandas()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{file} cannot be read: {reason_of(error)}") from error


def csv_table(file: Path) -> pandas.DataFrame:
    """A CSV file that a run has left, with texts as they were and numbers with all their digits.

    Raises:
        UserError: If it cannot be read, or a cell is no number that has to be one.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            names, *rows = csv.reader(stream)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {reason_of(error)}") from error
    if any(len(row) != len(names) for row in rows):
        raise UserError(f"{file} has a row that is cut short")
    try:
        columns = {name: _cells(name, (row[at] for row in rows)) for at, name in enumerate(names)}
    except ValueError as error:
        raise UserError(f"{file} has a row that no run writes: {error}") from error
    return pandas.DataFrame(columns)


def by_pair(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row a pair of features, what is measured on text in a column a dataset, as in `jaccard_prose`.

    What a table has of weights alone, or of none but one dataset, stays as it is.
    """
    if _DATASET not in table:
        return labels_first(table)
    measured = [name for name in MEASURED if name in table]
    datasets = list(dict.fromkeys(table[_DATASET]))
    parts = {dataset: table[table[_DATASET] == dataset].set_index(_FEATURE, drop=False) for dataset in datasets}
    if not parts:
        return labels_first(table.drop(columns=[_DATASET, *measured]))
    wide = next(iter(parts.values())).drop(columns=[_DATASET, *measured])
    apart = {
        f"{name}_{dataset}": part[name].reindex(wide.index) for dataset, part in parts.items() for name in measured
    }
    return labels_first(pandas.concat([wide, pandas.DataFrame(apart)], axis=1).reset_index(drop=True))


def labels_first(table: pandas.DataFrame) -> pandas.DataFrame:
    """The table with what a pair is called right behind which it is."""
    first = [name for name in (*_ENDS, *_LABELS) if name in table]
    return table[[*first, *(name for name in table if name not in first)]]


def _cells(name: str, cells: Iterable[str]) -> list[object]:
    return [csv_text(cell) if name in _TEXT else _number(cell) for cell in cells]


def _number(cell: str) -> int | float:
    if not cell:
        return math.nan
    return int(cell) if cell.lstrip("-").isdecimal() else float(cell)
