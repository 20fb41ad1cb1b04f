"""The long table that every number of a run is found in."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from sae_match.errors import UserError
from sae_match.files import write_rows
from sae_match.strings import csv_text

#: What the column `dataset` says of numbers that follow from weights alone.
WEIGHTS = "weights"
#: Columns that tables of two collections have besides.
COLLECTIONS = ("source_collection", "target_collection")


@dataclass(frozen=True)
class Result:
    """One number of a run.

    Attributes:
        source_layer, target_layer: The pair of layers.
        arm: What stood in for the target layer's residual.
        dataset: Which text.
        metric: Name as in `evaluation/README.md`.
        value: The number.
        low, high: 95 % interval, none where there is none.
        tokens: Tokens that the number is taken over.
        documents: Documents that they come from.
        source_collection, target_collection: What the two collections are called; empty of one, and no columns then.
    """

    source_layer: int
    target_layer: int
    arm: str
    dataset: str
    metric: str
    value: float
    low: float | None
    high: float | None
    tokens: int
    documents: int
    source_collection: str = ""
    target_collection: str = ""


@dataclass(frozen=True)
class SpanResult:
    """A metric as the mean over all pairs of layers at the same distance.

    Attributes:
        span: Target layer less source layer.
        arm, dataset, metric, value, low, high: As in `Result`.
        pairs: Pairs that the mean is taken over.
    """

    span: int
    arm: str
    dataset: str
    metric: str
    value: float
    low: float | None
    high: float | None
    pairs: int


Row = TypeVar("Row", Result, SpanResult)


def save_spans(spans: Iterable[SpanResult], path: Path) -> None:
    """Write as CSV; floats keep all their digits."""
    write_rows(path, map(asdict, spans), [field.name for field in fields(SpanResult)])


def load_spans(path: Path) -> list[SpanResult]:
    """Read what `save_spans` wrote.

    Raises:
        UserError: If the file is missing, lacks a column or has a cell that is no number.
    """
    return [_parse(SpanResult, row, path) for row in _read(path)]


def cells_of(row: Result | SpanResult, named: bool) -> dict[str, object]:
    """A row by column; the collections are columns only where tables are `named` by them."""
    return {name: cell for name, cell in asdict(row).items() if named or name not in COLLECTIONS}


class Results:
    """Results of one run, in the order in which they were found."""

    def __init__(self, rows: Iterable[Result] = ()) -> None:
        self.rows = tuple(rows)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def named(self) -> bool:
        """Whether they are of two collections, by name."""
        return any(row.source_collection for row in self.rows)

    def select(self, **wanted: object) -> "Results":
        """Rows whose columns have the wanted values."""
        return Results(row for row in self.rows if all(getattr(row, key) == value for key, value in wanted.items()))

    def between(self, names: tuple[str, str] | None) -> "Results":
        """The same numbers as those of two collections of these names; as they are if there are none."""
        if names is None:
            return self
        return Results(replace(row, source_collection=names[0], target_collection=names[1]) for row in self.rows)

    def distinct(self, column: str) -> list[Any]:
        """Values of a column in order of first appearance."""
        return list(dict.fromkeys(getattr(row, column) for row in self.rows))

    def value(self, **wanted: object) -> float:
        """The one number that fits.

        Raises:
            KeyError: If none or several do.
        """
        found = self.select(**wanted).rows
        if len(found) != 1:
            raise KeyError(f"{len(found)} results fit {wanted}")
        return found[0].value

    def save(self, path: Path) -> None:
        """Write as CSV; floats keep all their digits. Only rows of two collections say which."""
        columns = [field.name for field in fields(Result) if self.named or field.name not in COLLECTIONS]
        write_rows(path, (cells_of(row, self.named) for row in self.rows), columns)

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read what `save` wrote.

        Raises:
            UserError: If the file is missing, lacks a column or has a cell that is no number.
        """
        return cls(_parse(Result, row, path) for row in _read(path))


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"there is no file {path}; a finished run leaves one")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


_CELLS: dict[object, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: csv_text,
    float | None: lambda cell: float(cell) if cell else None,
}
"""How a cell is read, by the type of its column."""


def _parse(kind: type[Row], row: Mapping[str, str], path: Path) -> Row:
    there = [field for field in fields(kind) if field.default is MISSING or row.get(field.name) is not None]
    missing = [field.name for field in there if row.get(field.name) is None]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}")
    types = get_type_hints(kind)
    try:
        return kind(**{field.name: _CELLS[types[field.name]](row[field.name]) for field in there})
    except ValueError as error:
        raise UserError(f"{path} has a row that no run writes: {error}") from error
