import pytest

from sae_match.errors import UserError
from sae_match.files import write_rows


def test_a_table_keeps_all_digits_and_leaves_cells_without_a_value_empty(tmp_path):
    rows = [{"name": "ä", "value": 1 / 3, "low": None}, {"name": "a,b", "value": 2.0, "low": -1e-17}]
    write_rows(tmp_path / "new" / "table.csv", rows)
    written = (tmp_path / "new" / "table.csv").read_bytes().decode("utf-8")
    assert written == 'name,value,low\r\nä,0.3333333333333333,\r\n"a,b",2.0,-1e-17\r\n'


def test_a_table_may_have_no_rows_where_its_columns_are_known(tmp_path):
    write_rows(tmp_path / "table.csv", iter(()), ["a", "b"])
    assert (tmp_path / "table.csv").read_bytes() == b"a,b\r\n"


def test_a_table_that_cannot_be_written_leaves_what_was_there(tmp_path):
    write_rows(tmp_path / "table.csv", [{"a": 1}])
    with pytest.raises(ValueError, match="b"):
        write_rows(tmp_path / "table.csv", [{"a": 1}, {"a": 2, "b": 3}])
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"a\r\n1\r\n"]
    with pytest.raises(UserError, match="cannot write"):
        write_rows(tmp_path / "table.csv" / "inner.csv", [{"a": 1}])
