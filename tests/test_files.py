import os
import stat
import threading
import time
import zipfile

import pytest

from sae_match.errors import UserError
from sae_match.files import (
    refuse_damaged_archive,
    remove_all_leftovers,
    remove_leftovers,
    write_rows,
    written_whole,
)


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


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def mask():
    """Sets the mask of this process, and sets it back."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_permissions_that_the_mask_leaves(tmp_path, mask, umask, mode):
    mask(umask)
    with written_whole(tmp_path / "new" / "a.txt") as temporary:
        assert mode_of(temporary) == mode
        temporary.write_text("a")
    assert mode_of(tmp_path / "new" / "a.txt") == mode


def test_what_other_threads_write_meanwhile_has_the_same_permissions(tmp_path, mask, monkeypatch):
    mask(0o077)

    def slowly(new):
        # Whoever sets the mask of the process hands the others a turn.
        before = mask(new)
        time.sleep(0.01)
        return before

    monkeypatch.setattr(os, "umask", slowly)
    modes, over = set(), threading.Event()

    def write_all_the_while():
        while not over.is_set():
            (tmp_path / "beside").touch()
            modes.add(mode_of(tmp_path / "beside"))
            (tmp_path / "beside").unlink()

    beside = threading.Thread(target=write_all_the_while)
    beside.start()
    for number in range(20):
        with written_whole(tmp_path / f"{number}.txt"):
            time.sleep(0.001)
    over.set()
    beside.join()
    assert modes == {0o600}


def test_two_writers_of_a_file_do_not_meet(tmp_path):
    with written_whole(tmp_path / "a.txt") as first, written_whole(tmp_path / "a.txt") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "first")]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    with written_whole(tmp_path / "a.txt") as temporary:
        pass
    temporary.write_text("half")
    (tmp_path / "b.txt").touch()
    remove_leftovers(tmp_path / "a.txt")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_hidden_files_of_a_user_that_are_called_alike_are_no_leftovers(tmp_path):
    theirs = [
        f".a.txt.{mark}.txt" for mark in ("old1", "backup", "notes_ab", "0123456", "012345678", "0123abcg", "0123ABCD")
    ]
    for name in theirs:
        (tmp_path / name).write_text("mine")
    theirs.append(".a.txt.0123abcd")
    (tmp_path / theirs[-1]).write_text("mine")
    (tmp_path / ".a.txt.0123abcd.txt").write_text("half")
    remove_leftovers(tmp_path / "a.txt")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(theirs)


def test_only_temporary_files_of_the_names_are_removed(tmp_path):
    kept = [".a.csv", ".a.csv.12345678.txt", ".a.csv.1234567g.csv", "a.csv.12345678.csv", ".b.csv.12345678.csv"]
    for name in (*kept, ".a.csv.12345678.csv", ".bare.0123abcd"):
        (tmp_path / name).write_text("half of it")
    remove_all_leftovers(tmp_path, ["a.*", "bare"])
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(kept)


def test_a_temporary_file_of_a_killed_process_is_known_by_its_name(tmp_path):
    with written_whole(tmp_path / "a.csv") as temporary:
        left = temporary.name
    (tmp_path / left).write_text("half of it")
    remove_all_leftovers(tmp_path, ["*.csv"])
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_an_archive_is_whole_or_refused(tmp_path):
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("numbers", b"0123456789")
    refuse_damaged_archive(file)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"0123456789", b"0123456788"))
    with pytest.raises(ValueError, match=r"no whole archive .*checksum of .*numbers is wrong"):
        refuse_damaged_archive(file)
    file.write_bytes(whole[:20])
    with pytest.raises(ValueError, match="it is no whole archive"):
        refuse_damaged_archive(file)
