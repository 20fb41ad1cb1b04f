"""Documents are counted as a run would count them, by reading the first ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from sae_match import bundled
from sae_match.errors import UserError
from sae_match.text.batches import draw_documents
from sae_match.text.counting import first_documents, token_counter
from sae_match.text.settings import SourceSettings, TextSettings, rows_by_name

MODEL = Path(bundled.path("model"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Sixty rows of 5 to 64 words."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = (f'{{"text": "{number} {"words of row " * (1 + number // 3)}"}}\n' for number in range(60))
    file.write_text("".join(rows))
    return SourceSettings("text", str(file))


def settings(source, **changes):
    return TextSettings({"mine": source}, **{"documents": 2, "max_tokens": 64, "min_tokens": 20, **changes})


def most_drawn(source, text, tokenizer, part):
    """How many documents a run finds, by asking for ever more of them."""
    for wanted in range(1, 61):
        try:
            draw_documents("mine", source, replace(text, documents=wanted), tokenizer, part)
        except UserError:
            return wanted - 1
    return 60


@pytest.mark.parametrize("part", ["evaluation", "fitting"])
def test_as_many_are_counted_as_a_run_draws(bundled_model, source, part):
    text, count = settings(source), token_counter(MODEL)
    there = most_drawn(source, text, bundled_model[1], part)
    assert 0 < there < 60
    enough = (there, 0) if part == "evaluation" else (1, there)
    assert "documents" in first_documents("mine", source, replace(text, documents=enough[0]), enough[1], count)
    more = (there + 1, 0) if part == "evaluation" else (1, there + 1)
    setting = "text.documents" if part == "evaluation" else "evaluation.fitting_documents"
    with pytest.raises(
        UserError, match=rf"{there + 1} documents .* wanted, {there} found .*; lower {setting} to {there}"
    ):
        first_documents("mine", source, replace(text, documents=more[0]), more[1], count)


def test_without_a_tokenizer_only_what_is_surely_too_short_is_left_out(source, tmp_path):
    assert token_counter(tmp_path) is None
    assert "may be long enough" in first_documents("mine", source, settings(source), 0, None)
    with pytest.raises(UserError, match="0 found"):
        first_documents("mine", source, settings(source, min_tokens=5_000, max_tokens=6_000), 0, None)


def test_of_undivided_text_both_parts_are_drawn_from_the_same_documents(source):
    whole = replace(source, whole=True)
    text = settings(whole, documents=20, min_tokens=3)
    assert "and 40 to fit on" in first_documents("mine", whole, text, 40, token_counter(MODEL))
    with pytest.raises(UserError, match=r"41 documents .* 40 found .*lower evaluation\.fitting_documents to 40"):
        first_documents("mine", whole, text, 41, token_counter(MODEL))


def test_a_column_that_there_is_not_is_named_with_its_dataset(source):
    with pytest.raises(UserError, match=r"choose with text\.datasets\.mine\.column=…"):
        first_documents("mine", replace(source, column="content"), settings(source), 0, None)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("a.jsonl", "jsonl"), ("b/A.JSONL.gz", "jsonl"), ("a.ndjson.zst", "jsonl"), ("a.parquet", "parquet")],
)
def test_a_file_is_taken_for_what_its_name_says(path, kind):
    assert SourceSettings("text", path).kind == kind


@pytest.mark.parametrize("path", ["a.txt", "jsonl", "folder.of/texts", "a.md", "parquet/a"])
def test_other_names_say_nothing(path):
    assert rows_by_name(path) is None
    assert SourceSettings("text", path).kind == "text"


def test_a_folder_of_another_kind_says_which(source):
    with pytest.raises(UserError, match=r"it holds .*files, which are kind=jsonl"):
        first_documents(
            "mine", replace(source, kind="text", path=str(Path(source.path).parent)), settings(source), 0, None
        )
