"""Text is text however Arrow stores it, and no more of a table is unpacked than fits."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sae_match.errors import UserError
from sae_match.text import tables
from sae_match.text.tables import texts_of_column

STORED = ["first", "", None, "zweiter: ä ö ü", "first"]
KEPT = [text for text in STORED if text is not None]
PLAIN = pa.array(STORED)


def read(path, column="text"):
    with path.open("rb") as stream:
        return list(texts_of_column(stream, str(path), column))


@pytest.mark.parametrize(
    "array",
    [
        PLAIN,
        PLAIN.cast(pa.large_string()),
        PLAIN.cast(pa.string_view()),
        PLAIN.dictionary_encode(),
        PLAIN.cast(pa.large_string()).dictionary_encode(),
        pa.chunked_array([PLAIN.slice(0, 2).dictionary_encode(), PLAIN.slice(2).dictionary_encode()]),
        pa.ExtensionArray.from_storage(pa.json_(), PLAIN),
        pa.ExtensionArray.from_storage(pa.json_(pa.string_view()), PLAIN.cast(pa.string_view())),
    ],
    ids=lambda array: str(array.type),
)
def test_text_is_read_however_it_is_stored(tmp_path, array):
    pq.write_table(pa.table({"n": list(range(5)), "text": array}), tmp_path / "a.parquet", row_group_size=2)
    assert pq.read_schema(tmp_path / "a.parquet").field("text").type == array.type or "large" in str(array.type)
    assert read(tmp_path / "a.parquet") == KEPT


@pytest.mark.parametrize(
    "array",
    [
        PLAIN.cast(pa.binary()),
        pa.array([[text] for text in STORED]),
        pa.array([{"text": text} for text in STORED]),
        pa.array([1, 2, 3, None, 1]).dictionary_encode(),
        pa.nulls(5),
    ],
    ids=lambda array: str(array.type),
)
def test_what_is_no_text_is_refused(tmp_path, array):
    pq.write_table(pa.table({"text": array}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"column 'text' of .*a\.parquet holds .*, not text; there are 'text'$"):
        read(tmp_path / "a.parquet")


def test_two_columns_of_one_name_are_refused(tmp_path):
    pq.write_table(pa.Table.from_arrays([PLAIN, PLAIN], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet has several columns 'text'"):
        read(tmp_path / "a.parquet")


def test_a_damaged_page_with_a_checksum_is_refused(tmp_path):
    table = pa.table({"text": [f"text {number}" for number in range(100)]})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="none", write_page_checksum=True, use_dictionary=False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"text 55", b"text 66", 1))
    assert content != path.read_bytes()
    with pytest.raises(OSError, match="CRC"):
        read(path)


def test_a_text_beyond_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROW", 100)
    pq.write_table(pa.table({"text": ["a" * 100, "a" * 101]}), tmp_path / "a.parquet")
    with (tmp_path / "a.parquet").open("rb") as stream:
        rows = texts_of_column(stream, "a.parquet", "text")
        assert next(rows) == "a" * 100
        with pytest.raises(UserError, match=r"a\.parquet, row group 0: a text takes 101 bytes; at most 100 bytes"):
            next(rows)


def test_a_row_group_beyond_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROW_GROUP", 1000)
    pq.write_table(pa.table({"text": [f"text {number}" for number in range(1000)]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"row group 0: what it holds, unpacked, takes .* KiB; at most 1000 bytes"):
        read(tmp_path / "a.parquet")


def test_a_long_text_that_is_stored_once_for_many_rows_is_held_within_bounds(tmp_path, monkeypatch):
    """Sixty-four rows of it would take far more than the file."""
    length = 4 << 20
    monkeypatch.setattr(tables, "ROWS_HELD", 8 * length)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array(["a" * length]))
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", store_schema=False)
    assert pq.read_schema(tmp_path / "a.parquet").field("text").type == pa.string()
    before = pa.total_allocated_bytes()
    with (tmp_path / "a.parquet").open("rb") as stream:
        rows = texts_of_column(stream, "a.parquet", "text")
        assert len(next(rows)) == length
        assert pa.total_allocated_bytes() - before < 16 * length
