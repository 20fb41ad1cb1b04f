"""From a file to the texts in it, one after another: rows of Parquet and JSON lines, plain text."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from sae_match.errors import UserError
from sae_match.hub import hub_errors
from sae_match.text.files import HUB, TextFile

# Rows that are decoded at a time.
_ROWS = 64


def texts(file: TextFile, kind: str, column: str) -> Iterator[str]:
    """The texts of a file, as they are stored; no more of them are in memory than a few rows.

    Args:
        file: The file.
        kind: Its format, one of `sae_match.text.files.ENDINGS`. All of a `text` file is one text.
        column: Column of Parquet, key of JSON lines. Rows where it is null are left out.

    Raises:
        UserError: If the file is damaged, is not UTF-8, has no such column, or cannot be fetched.
    """
    with _named(file), file.open() as stream:
        if kind == "parquet":
            yield from _parquet(stream, file, column)
        elif kind == "jsonl":
            yield from _json_lines(stream, file, column)
        else:
            yield stream.read().decode("utf-8-sig")


@contextmanager
def _named(file: TextFile) -> Iterator[None]:
    """Turn whatever goes wrong while `file` is read into one line that names it."""
    try:
        with hub_errors(file.location) if file.location.startswith(HUB) else nullcontext():
            yield
    except UserError:
        raise
    except UnicodeDecodeError as error:
        byte = f"byte {error.object[error.start]:#04x} at {error.start}"
        raise UserError(f"{file.location} is not UTF-8 text: {byte}; convert it to UTF-8") from error
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(f"cannot read {file.location}: {reason}; it may be cut off, or of another format") from error


def _parquet(stream: BinaryIO, file: TextFile, column: str) -> Iterator[str]:
    table = pq.ParquetFile(stream, pre_buffer=True)
    schema = table.schema_arrow
    if column not in schema.names:
        raise UserError(_no_column(column, file.location, schema.names))
    kind = schema.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(
            f"column {column!r} of {file.location} holds {kind}, not text; there are {_listed(schema.names)}"
        )
    # One row group at a time: several together would all be fetched beforehand.
    for group in range(table.num_row_groups):
        for rows in table.iter_batches(batch_size=_ROWS, row_groups=[group], columns=[column]):
            yield from (text for text in rows.column(0).to_pylist() if text is not None)


def _json_lines(stream: BinaryIO, file: TextFile, column: str) -> Iterator[str]:
    for number, line in enumerate(_decompressed(stream, file.name), start=1):
        if line.isspace():
            continue
        where = f"{file.location}, line {number}"
        row = _json_object(line, where)
        if column not in row:
            raise UserError(_no_column(column, where, list(row)))
        text = row[column]
        if isinstance(text, str):
            yield text
        elif text is not None:
            raise UserError(f"{column!r} of {where} holds {type(text).__name__}, not text")


def _json_object(line: bytes, where: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text: byte {line[error.start]:#04x}; convert it to UTF-8") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: no JSON, {error.msg} at column {error.colno}; one object a line is read") from error
    if not isinstance(row, dict):
        raise UserError(f"{where} holds a JSON {type(row).__name__}; one object a line is read")
    return row


def _decompressed(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Lines of a stream that may be compressed."""
    if name.lower().endswith(".gz"):
        return iter(gzip.open(stream))
    if name.lower().endswith(".zst"):
        return iter(io.BufferedReader(cast(io.RawIOBase, pa.CompressedInputStream(stream, "zstd"))))
    return iter(stream)


def _no_column(column: str, where: str, names: list[str]) -> str:
    return f"no column {column!r} in {where}; there are {_listed(names)} (choose with text.datasets.NAME.column=…)"


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
