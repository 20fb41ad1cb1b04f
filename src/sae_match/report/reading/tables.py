"""Tables that runs have left, as pandas has them; and one row a pair of features where there was one a dataset."""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet as pq

from sae_match.errors import UserError
from sae_match.strings import csv_text, is_name, reason_of

Pair = tuple[int, int]
"""Source layer and target layer."""
Names = tuple[str, str] | None
"""What two collections are called; nothing where there is one."""

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
#: Of a table of what switching features off did, what is said of the matched partner, and its column beside a pair.
CAUSED = {"carried_matched": "carried", "agreement_matched": "agreement", "rank": "causal_rank"}
_TEXT = ("arm", "dataset", "metric", "solver", "source_collection", "target_collection")
_DATASET, _FEATURE = "dataset", "source_feature"
_LAYERS, _COLLECTIONS = ("source_layer", "target_layer"), ("source_collection", "target_collection")
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


def matched_in(file: Path) -> tuple[Names, set[Pair]] | None:
    """Names and pairs of layers that a run's CSV file tells of; none where there is no such file, or none in it."""
    try:
        table = csv_table(file) if file.is_file() else pandas.DataFrame()
        if not {*_LAYERS} <= {*table} or table.empty:
            return None
        pairs = {(int(source), int(target)) for source, target in zip(*(table[name] for name in _LAYERS), strict=True)}
    except (ValueError, OverflowError):
        # What is not sound is said where the table itself is asked for.
        return None
    if not {*_COLLECTIONS} <= {*table}:
        return None, pairs
    first, second = (str(table[name].iloc[0]) for name in _COLLECTIONS)
    # Names in a file are parts of a path only where they are names.
    return ((first, second), pairs) if is_name(first) and is_name(second) else None


def by_pair(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row a pair of features, what is measured on text in a column a dataset, as in `jaccard_prose`.

    So it is of a single dataset as well. A table of weights alone, which has no dataset, stays as it is.
    """
    if _DATASET not in table:
        return labels_first(table)
    measured = [name for name in MEASURED if name in table]
    datasets = list(dict.fromkeys(table[_DATASET]))
    first = table if not datasets else table[table[_DATASET] == datasets[0]].reset_index(drop=True)
    return labels_first(_beside(first.drop(columns=[_DATASET, *measured]), table, {name: name for name in measured}))


def with_causes(pairs: pandas.DataFrame, causes: pandas.DataFrame) -> pandas.DataFrame:
    """Pairs, a row each, with what switching the source feature off does to the partner, a column a dataset.

    `carried_prose` is the share of the partner's activation that goes with it, `agreement_prose` how alike the effects
    of both on the next token are, `causal_rank_prose` 1 where no target feature falls farther; nothing for a pair that
    was not in the sample.
    """
    return _beside(pairs, causes, CAUSED)


def _beside(pairs: pandas.DataFrame, told: pandas.DataFrame, names: Mapping[str, str]) -> pandas.DataFrame:
    """Pairs, a row each, with columns of a table that has a row a pair and dataset, each by its name and dataset."""
    apart = {
        f"{name}_{dataset}": part.set_index(_FEATURE)[column].reindex(pairs[_FEATURE]).set_axis(pairs.index)
        for dataset, part in told.groupby(_DATASET, sort=False)
        for column, name in names.items()
    }
    return pandas.concat([pairs, pandas.DataFrame(apart)], axis=1)


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
