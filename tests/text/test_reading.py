import gzip
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sae_match.errors import UserError
from sae_match.text import reading
from sae_match.text.files import TextFile
from sae_match.text.reading import texts

STORED = ["first", "", "zweiter: ä ö ü", "third\nwith a line end"]
LINES = "".join(json.dumps({"meta": 1, "text": text}) + "\n" for text in STORED).encode()


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return TextFile(name, str(path), len(content))

    return write


@pytest.fixture
def write_table(tmp_path):
    def write_table(**columns):
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=3)
        return TextFile("rows.parquet", str(path), path.stat().st_size)

    return write_table


def zstd_stream(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", b"\n" + LINES.replace(b"\n", b"\n\n")),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("a.jsonl.gz", gzip.compress(LINES[:20], mtime=0) + gzip.compress(LINES[20:], mtime=0)),
        ("a.jsonl.zst", zstd_stream(LINES)),
        ("a.jsonl.zst", zstd_stream(LINES[:20]) + zstd_stream(LINES[20:])),
    ],
)
def test_json_lines_however_compressed_give_the_texts_stored(write, name, content):
    assert list(texts(write(name, content), "jsonl", "text")) == STORED


def test_many_lines_survive_compression(write):
    lines = [f"{number} " * 50 for number in range(5000)]
    content = "".join(json.dumps({"text": line}) + "\n" for line in lines).encode()
    assert list(texts(write("a.jsonl.zst", zstd_stream(content)), "jsonl", "text")) == lines


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_parquet_gives_the_column_and_leaves_out_nulls(write_table, kind):
    file = write_table(n=list(range(5)), text=pa.array([*STORED, None], kind))
    assert list(texts(file, "parquet", "text")) == STORED


def test_a_text_file_is_one_text(write):
    assert list(texts(write("a.txt", "﻿two\n\nparagraphs ä".encode()), "text", "text")) == ["two\n\nparagraphs ä"]


def test_files_are_read_as_they_are_asked_for(write):
    rows = texts(write("a.jsonl", LINES + b"{broken"), "jsonl", "text")
    assert [next(rows) for _ in STORED] == STORED
    with pytest.raises(UserError, match=r"a\.jsonl, line 5: no JSON"):
        next(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            b'{"text": "a"}\n{"text": "b"',
            r"a\.jsonl, line 2: no JSON, .*column \d+; one object a line is read",
        ),
        ("a.jsonl", b'[\n{"text": "a"}\n]', r"a\.jsonl, line 1: no JSON"),
        ("a.jsonl", b"[1, 2]\n", r"a\.jsonl, line 1 holds a JSON list"),
        ("a.jsonl", b'{"text": 3}\n', r"'text' of .*a\.jsonl, line 1 holds int, not text"),
        ("a.jsonl", b'{"body": "a", "id": 3}\n', r"no column 'text' in .*a\.jsonl, line 1; there are 'body', 'id'"),
        ("a.jsonl", b'{"text": "a\xff"}\n', r"a\.jsonl, line 1 is not UTF-8 text: byte 0xff"),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-12], r"cannot read .*a\.jsonl\.gz: .*cut off"),
        ("a.jsonl.gz", b"", r"cannot read .*a\.jsonl\.gz: it is empty; it may be cut off"),
        ("a.jsonl.zst", b"", r"cannot read .*a\.jsonl\.zst: it is empty; it may be cut off"),
        ("a.jsonl.gz", LINES, r"cannot read .*a\.jsonl\.gz: Not a gzipped file"),
        ("a.jsonl.zst", zstd_stream(LINES * 99)[:-12], r"cannot read .*a\.jsonl\.zst: .*cut off"),
        ("a.jsonl.zst", LINES, r"cannot read .*a\.jsonl\.zst"),
        ("a.parquet", b"PAR1 and no more", r"cannot read .*a\.parquet: .*cut off, or of another format"),
        ("a.txt", b"caf\xe9", r"a\.txt is not UTF-8 text: byte 0xe9 at 3; convert it to UTF-8"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(write, name, content, message):
    kind = {"jsonl": "jsonl", "parquet": "parquet", "txt": "text"}[name.split(".")[1]]
    with pytest.raises(UserError, match=message) as raised:
        list(texts(write(name, content), kind, "text"))
    assert "\n" not in str(raised.value)


PACKED = [("a.jsonl", bytes), ("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstd_stream)]


@pytest.mark.parametrize(("name", "pack"), PACKED)
def test_a_line_beyond_the_bound_is_refused_before_it_is_unpacked(write, monkeypatch, name, pack):
    monkeypatch.setattr(reading, "MOST_ROW", 1 << 16)
    longest = b'{"text": "' + b"a" * ((1 << 16) - 13) + b'"}\n'
    rows = texts(write(name, pack(longest + b'{"text": "' + b"a" * (1 << 24))), "jsonl", "text")
    assert len(next(rows)) == (1 << 16) - 13
    tracemalloc.start()
    with pytest.raises(UserError, match=r"a\.jsonl.*, line 2 is longer than 64 KiB, the most that is read"):
        next(rows)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 21


def test_a_text_file_beyond_the_bound_is_refused(write, monkeypatch):
    monkeypatch.setattr(reading, "MOST_TEXT", 100)
    assert list(texts(write("a.txt", b"a" * 100), "text", "text")) == ["a" * 100]
    with pytest.raises(UserError, match=r"a\.txt: a text takes 101 bytes; at most 100 bytes is read"):
        list(texts(write("a.txt", b"a" * 101), "text", "text"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"[" * 100_000, "recursion"), (b'{"a": ' + b"1" * 5000 + b"}", "integer string conversion")],
    ids=["nested", "digits"],
)
def test_json_that_python_cannot_read_is_named(write, line, reason):
    with pytest.raises(UserError, match=rf"a\.jsonl, line 1: no JSON that can be read, .*{reason}"):
        list(texts(write("a.jsonl", line), "jsonl", "text"))


def test_a_truncated_parquet_file_is_named(write, write_table):
    with write_table(text=STORED * 50).open() as stream:
        whole = stream.read()
    for length in (len(whole) // 2, len(whole) - 4):
        with pytest.raises(UserError, match=r"cannot read .*cut\.parquet: .*it may be cut off"):
            list(texts(write("cut.parquet", whole[:length]), "parquet", "text"))


def test_a_column_that_does_not_exist_or_holds_no_text_is_named(write_table):
    file = write_table(n=[1, 2], text=["a", "b"])
    with pytest.raises(UserError, match=r"no column 'content' in .*rows\.parquet; there are 'n', 'text'"):
        list(texts(file, "parquet", "content"))
    with pytest.raises(UserError, match=r"column 'n' of .*rows\.parquet holds int64, not text; there are 'n', 'text'"):
        list(texts(file, "parquet", "n"))


def test_a_file_that_vanishes_is_named(write, tmp_path):
    file = write("a.txt", b"text")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match=r"cannot read .*a\.txt: .*No such file"):
        list(texts(file, "text", "text"))
