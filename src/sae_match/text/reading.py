"""From a file to the texts in it, one after another: rows of Parquet and JSON lines, plain text."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO, cast

import pyarrow as pa

from sae_match.bounds import MOST_ROW, MOST_TEXT, in_words, refuse_beyond
from sae_match.errors import UserError
from sae_match.hub import hub_errors
from sae_match.text.files import HUB, TextFile
from sae_match.text.tables import no_column, texts_of_column

# Bytes that are unpacked at a time.
_CHUNK = 1 << 16


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
            yield from texts_of_column(stream, file.location, column)
        elif kind == "jsonl":
            yield from _json_lines(stream, file, column)
        else:
            refuse_beyond(MOST_TEXT, file.size, file.location, "a text")
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


def _json_lines(stream: BinaryIO, file: TextFile, column: str) -> Iterator[str]:
    for number, line in enumerate(_lines(stream, file), start=1):
        if line.isspace():
            continue
        where = f"{file.location}, line {number}"
        row = _json_object(line, where)
        if column not in row:
            raise UserError(no_column(column, where, list(row)))
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
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: no JSON that can be read, {str(error).splitlines()[0]}") from error
    if not isinstance(row, dict):
        raise UserError(f"{where} holds a JSON {type(row).__name__}; one object a line is read")
    return row


def _lines(stream: BinaryIO, file: TextFile) -> Iterator[bytes]:
    """Lines of a stream that may be compressed; no more of it is unpacked than one of them."""
    unpacked = _decompressed(stream, file.name)
    number = 0
    while line := unpacked.readline(MOST_ROW + 1):
        number += 1
        if len(line) > MOST_ROW:
            raise UserError(
                f"{file.location}, line {number} is longer than {in_words(MOST_ROW)}, the most that is read; "
                "one object a line is read"
            )
        yield line


def _decompressed(stream: BinaryIO, name: str) -> io.BufferedIOBase:
    """The stream without its compression, able to read a line up to a length."""
    # What is streamed from the hub reads lines of any length only.
    buffered = (
        stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream), _CHUNK)
    )
    is_gzip, is_zstd = (name.lower().endswith(ending) for ending in (".gz", ".zst"))
    if (is_gzip or is_zstd) and not buffered.peek(1):
        raise EOFError("it is empty")
    if is_gzip:
        return gzip.open(buffered)
    if is_zstd:
        return io.BufferedReader(cast(io.RawIOBase, pa.CompressedInputStream(buffered, "zstd")), _CHUNK)
    return buffered
