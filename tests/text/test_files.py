import pytest

from sae_match.errors import UserError
from sae_match.text.files import TextFile, format_of, local_files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("b.txt", "a.md", "below/c.TXT", "picture.png", ".hidden.txt", ".git/d.txt"):
        (tmp_path / name).write_text("text")
    (tmp_path / "empty.txt").touch()
    return tmp_path


def test_a_folder_is_searched_for_visible_files_with_something_in_them(folder):
    files = local_files(str(folder), "text")
    assert [file.name for file in files] == ["a.md", "b.txt", "below/c.TXT"]
    assert [file.size for file in files] == [4, 4, 4]
    with files[2].open() as stream:
        assert stream.read() == b"text"


def test_a_folder_of_rows_may_hold_json_that_is_no_rows(tmp_path):
    for name in ("info.json", "train.jsonl", "val.ndjson.zst"):
        (tmp_path / name).write_text("{}")
    assert [file.name for file in local_files(str(tmp_path), "jsonl")] == ["train.jsonl", "val.ndjson.zst"]


def test_a_single_file_may_be_called_anything(folder):
    assert local_files(str(folder / "picture.png"), "text") == [
        TextFile("picture.png", str(folder / "picture.png"), 4),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train-00000-of-00002.parquet", "parquet"),
        ("val.jsonl.zst", "jsonl"),
        ("A.JSONL.GZ", "jsonl"),
        ("README.md", "text"),
        ("train.json.gz", "jsonl"),
        ("model.safetensors", None),
        ("archive.txt.gz", None),
    ],
)
def test_names_tell_formats(name, expected):
    assert format_of(name) == expected


def test_what_is_not_there_is_named(folder):
    with pytest.raises(UserError, match=r"there is no file or folder .*nowhere"):
        local_files(str(folder / "nowhere"), "text")
    with pytest.raises(UserError, match=r"no \.parquet file below the folder"):
        local_files(str(folder), "parquet")
    (folder / "nothing").mkdir()
    with pytest.raises(UserError, match=r"no \.txt or \.md file below the folder .*nothing"):
        local_files(str(folder / "nothing"), "text")


def test_empty_files_are_named(folder):
    with pytest.raises(UserError, match=r"empty\.txt is empty"):
        local_files(str(folder / "empty.txt"), "text")
    hollow = folder / "hollow"
    hollow.mkdir()
    for name in ("a.txt", "b.txt"):
        (hollow / name).touch()
    with pytest.raises(UserError, match=r"all 2 files below .*hollow are empty"):
        local_files(str(hollow), "text")
