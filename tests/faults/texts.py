"""A small file for each reader of text, the damage that it takes, and what it says by the plainest reading."""

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults import mutations

TEXTS = [
    "first",
    "",
    "zweiter: ä ö ü",
    "third\nwith a line end",
    *(f"{number} of many " * number for number in range(9)),
]
ROWS = [{"meta": {"n": 1}, "text": text} for text in TEXTS]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


@dataclass(frozen=True)
class Reader:
    """A reader's case.

    Attributes:
        kind: Kind of source.
        name: Of the file; its ending says how it is packed.
        content: The file.
        plainly: The texts of a file, by the plainest reading.
        sealed: Whether a checksum covers the file.
    """

    kind: str
    name: str
    content: bytes
    plainly: Callable[[bytes], list[str]]
    sealed: bool = False


def damaged(case: Reader, random: Random) -> tuple[bytes, str]:
    """A damaged file, and what may have become of it: `same` or `as said`."""
    if case.kind == "text" or random.random() < 0.5:
        return mutations.of_bytes(random, case.content), "same" if case.sealed else "as said"
    if case.kind == "parquet":
        return table(**{random.choice(("text", "text ", "n")): of_column(random)}), "as said"
    lines = LINES.splitlines(keepends=True)
    number = random.randrange(len(lines))
    lines[number] = mutations.of_settings(random, lines[number])[0] + b"\n"
    return PACKERS[case.name](b"".join(lines)), "as said"


def of_column(random: Random) -> pa.Array:
    """A column of another type, or of texts that are stored otherwise."""
    texts = pa.array([random.choice([*TEXTS, None]) for _ in range(20)])
    numbers = pa.array(range(20))
    return random.choice(
        [
            *(texts, texts.cast(pa.large_string()), texts.cast(pa.string_view()), texts.dictionary_encode()),
            *(texts.cast(pa.binary()), pa.array([[text] for text in texts]), pa.nulls(20), pa.array([], pa.string())),
            *(numbers, numbers.cast(pa.float16()), numbers.dictionary_encode(), pa.array([{"text": "a"}] * 20)),
            *(texts.cast(pa.dictionary(pa.int8(), pa.string())), pa.array(["a" * 10**6] * 20)),
        ]
    )


def table(**columns: pa.Array) -> bytes:
    """A Parquet file."""
    written = io.BytesIO()
    pq.write_table(pa.table(columns), written, row_group_size=7, write_page_checksum=True)
    return written.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue().to_pybytes())


def of_lines(content: bytes) -> list[str]:
    rows = (json.loads(line) for line in content.split(b"\n") if line.strip())
    return [row["text"] for row in rows if row["text"] is not None]


def whole(content: bytes) -> list[str]:
    return [content.decode("utf-8-sig")]


def of_zstd(content: bytes) -> list[str]:
    return of_lines(pa.CompressedInputStream(pa.py_buffer(content), "zstd").read())


def of_table(content: bytes) -> list[str]:
    column = pq.read_table(io.BytesIO(content), columns=["text"])["text"]
    return [text for text in column.to_pylist() if text is not None]


def packed_by_gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


PACKERS = {"a.jsonl": bytes, "a.jsonl.gz": packed_by_gzip, "a.jsonl.zst": zstd}
READERS = {
    "text": Reader(
        "text", "a.txt", "two\n\nparagraphs ä\n".encode() * 20, lambda content: [content.decode("utf-8-sig")]
    ),
    "jsonl": Reader("jsonl", "a.jsonl", LINES, of_lines),
    "gzip": Reader(
        "jsonl", "a.jsonl.gz", packed_by_gzip(LINES), lambda content: of_lines(gzip.decompress(content)), sealed=True
    ),
    "zstd": Reader("jsonl", "a.jsonl.zst", zstd(LINES), of_zstd),
    "parquet": Reader("parquet", "a.parquet", table(n=pa.array(range(len(TEXTS))), text=pa.array(TEXTS)), of_table),
}
