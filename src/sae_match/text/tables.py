"""The texts in a column of a Parquet file, however Arrow stores text."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from sae_match.bounds import MOST_ROW, MOST_ROW_GROUP, ROWS_HELD, refuse_beyond
from sae_match.errors import UserError

# Rows that are decoded at a time.
_ROWS = 64


def texts_of_column(stream: BinaryIO, location: str, column: str) -> Iterator[str]:
    """The texts of a column, a few rows at a time; rows where it is null are left out.

    Args:
        stream: The file.
        location: Where it comes from.
        column: Name of the column.

    Raises:
        UserError: If there is no such column, it holds no text, or more at a time than any real text.
        pa.ArrowException: If the file is damaged.
    """
    table = pq.ParquetFile(stream, pre_buffer=True, page_checksum_verification=True)
    schema = table.schema_arrow
    if column not in schema.names:
        raise UserError(no_column(column, location, schema.names))
    if schema.names.count(column) > 1:
        raise UserError(f"{location} has several columns {column!r}; one must be the text")
    kind = schema.field(column).type
    if not _is_text(kind):
        raise UserError(f"column {column!r} of {location} holds {kind}, not text; there are {_listed(schema.names)}")
    # One row group at a time: several together would all be fetched beforehand.
    for group in range(table.num_row_groups):
        rows = _rows_at_a_time(table.metadata.row_group(group), f"{location}, row group {group}")
        for batch in table.iter_batches(batch_size=rows, row_groups=[group], columns=[column]):
            for value in batch.column(0):
                text = value.as_py()
                if text is not None:
                    refuse_beyond(MOST_ROW, len(text), f"{location}, row group {group}", "a text")
                    yield text


def no_column(column: str, where: str, names: list[str]) -> str:
    """What to say where a column, or a key, is not there."""
    return f"no column {column!r} in {where}; there are {_listed(names)} (choose with text.datasets.NAME.column=…)"


def _rows_at_a_time(group: Any, where: str) -> int:
    """As many rows as are held within bounds, even if all were one text that the file stores once.

    Args:
        group: What the file says of a row group. Its columns are not asked: where what is said of one of them
            is damaged, Arrow ends the process.
        where: File and row group.

    Raises:
        UserError: If it takes more than any real one.
    """
    size = group.total_byte_size
    refuse_beyond(MOST_ROW_GROUP, size, where, "what it holds, unpacked,")
    return int(min(_ROWS, max(1, ROWS_HELD // max(size, 1))))


def _is_text(kind: Any) -> bool:
    """Whether a type of Arrow is text, plain or stored in a dictionary, in views or under a name of its own."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _is_text(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _is_text(kind.storage_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
