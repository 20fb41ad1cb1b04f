import csv
import io
import unicodedata

import pytest

from sae_match.errors import UserError
from sae_match.files import write_rows
from sae_match.strings import (
    csv_cell,
    csv_text,
    in_a_line,
    markdown_text,
    reason_of,
    refuse_no_name,
    refuse_no_title,
    visible,
)
from tests.nasty import NASTY


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_what_is_shown_does_nothing_and_can_be_written(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(shown)


def test_what_can_be_seen_is_left_as_it_is():
    text = NASTY["scripts"] + NASTY["markup"] + "tab\tline\nfeed"
    assert visible(text) == text


def test_a_line_is_one_and_is_cut():
    assert in_a_line(NASTY["lines"]) == "one two\\x0d # three\\u2028four"
    assert in_a_line(NASTY["long"], 10) == "x" * 9 + "…"


def test_no_markdown_is_left():
    assert markdown_text("| a <b> `c` **d** [e](f) # g") == r"\| a \<b\> \`c\` \*\*d\*\* \[e\](f) # g"
    assert markdown_text("# a") == r"\# a"
    # Within a word an underscore is one.
    assert markdown_text("explained_variance _x_") == r"explained_variance \_x\_"


def test_a_cell_is_no_formula_and_a_number_stays_one():
    assert csv_cell("=1+1") == "'=1+1"
    assert csv_cell("@a") == "'@a"
    assert csv_cell(-1.5) == -1.5


@pytest.mark.parametrize("text", ["=x", "'=x", "''=x", "'", "'x", "-1", "+", "@a", "x=1", "", "=", "'quoted'"])
def test_a_cell_is_read_back_as_the_text_that_it_was_made_of(text):
    assert csv_text(csv_cell(text)) == text
    assert not csv_cell(text).startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_table_holds_any_string_in_one_cell(text, tmp_path):
    write_rows(tmp_path / "rows.csv", [{"a": text, text or "b": 1.0}])
    rows = list(csv.reader(io.StringIO((tmp_path / "rows.csv").read_bytes().decode("utf-8"), newline="")))
    assert [len(row) for row in rows] == [2, 2]
    assert rows[1][0].removeprefix("'") == visible(text)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../../../ESCAPED", "a/b", "a\\b", ".hidden", "-rf", "_x", "a\nb", "a\x00", "a" * 101, "a:b", "a$"],
)
def test_what_climbs_out_of_a_folder_is_no_name(name):
    with pytest.raises(UserError, match=r"^spans.csv: .* is no name of a metric"):
        refuse_no_name(name, "metric", "spans.csv")


@pytest.mark.parametrize("name", ["explained_variance", "quantile_0.5", "arm 2", "\u540d\u524d", "a=1,b=2"])
def test_names_of_ours_and_of_other_scripts_are_names(name):
    refuse_no_name(name, "metric", "spans.csv")


def test_a_title_may_hold_more_but_has_to_be_seen():
    for title in ("a/b", "a$x_b_c", NASTY["scripts"], "[red]"):
        refuse_no_title(title, "dataset", "spans.csv")
    for title in ("", "a\nb", NASTY["controls"], NASTY["surrogate"], NASTY["long"], "a\u202eb"):
        with pytest.raises(UserError, match="is no name of a dataset"):
            refuse_no_title(title, "dataset", "spans.csv")


def test_an_error_that_says_nothing_is_called_by_its_kind():
    assert reason_of(KeyError()) == "KeyError"
    assert reason_of(ValueError("a\x1b[31m\nb")) == "a\\x1b[31m"
