import io
import json
import random

import pytest

from sae_match.errors import UserError
from sae_match.semantics.neuronpedia.explanations import Explanation, Explanations, described, read_feature, read_lines
from tests.semantics.mini_neuronpedia import MODEL, SOURCE, lines, row


def read(body):
    return list(read_lines(io.BytesIO(body), "batch", MODEL, SOURCE))


def one(description, **others):
    (found,) = read(lines([row(3, description, **others)]))
    return found


def test_a_row_of_an_export():
    found = one(" words \n about\tships ")
    assert found == Explanation(3, "clx000003", "words about ships", "gpt-4o-mini", "oai_token-act-pair")


def test_compressed_and_plain_files_are_read_and_blank_lines_passed_over():
    rows = "\n".join(json.dumps(row(index, "x")) for index in (10, 2)) + "\n\n"
    assert [found.feature for found in read(rows.encode())] == [10, 2]
    assert [found.feature for found in read(lines([row(10, "x"), {**row(2, "y"), "index": 2}]))] == [10, 2]


@pytest.mark.parametrize("text", ["слова про корабли", "船についての言葉", "كلمات عن السفن", "🚢 and नाव", "a\u200db"])
def test_any_script_is_kept(text):
    assert described([one(text)]) == text


def test_half_a_surrogate_pair_can_be_written_to_a_file():
    body = json.dumps(row(3, "ship \ud83d!")).encode()
    assert described(read(body)) == "ship ?!"


@pytest.mark.parametrize("text", ["", "  \n\t", None, "\u200b\u200d", "\u00a0\u3000", "\x00"])
def test_a_description_that_says_nothing_is_none(text):
    assert described([one(text)]) is None
    assert described([one(text), Explanation(3, "z", "ships")]) == "ships"


def test_of_several_explanations_the_preferred_then_the_best_then_the_oldest_describes():
    first = Explanation(3, "a", "oldest", "gpt-4o-mini", "oai_token-act-pair")
    best = Explanation(3, "b", "best", "gpt-4o-mini", "oai_token-act-pair", score=0.9)
    worse = Explanation(3, "c", "worse", "claude", "np_max-act", score=0.1)
    last = Explanation(3, "d", "last", "gemini", "np_max-act")
    several = [first, best, worse, last]
    expected = {
        (): "best",
        ("claude",): "worse",
        ("gemini", "claude"): "last",
        ("nobody", "np_max-act"): "worse",
        ("oai_token-act-pair", "gemini"): "best",
    }
    for seed in range(5):
        random.Random(seed).shuffle(several)
        for prefer, text in expected.items():
            assert described(several, prefer) == text
        assert described([row for row in several if row.score is None]) == "oldest"
    assert described([]) is None


def test_scores_of_one_explanation_are_averaged_and_senseless_ones_left_out():
    scores = [{"value": 0.5}, {"value": 1.0}, {"value": None}, {"value": "high"}, {}, "none"]
    body = json.dumps({"explanations": [row(3, "x", scores=scores)]}).encode()
    assert read_feature(body, "there", 3)[0].score == 0.75
    assert one("x", scores=[]).score is None
    assert one("x", scores="many").score is None


def test_an_answer_of_the_api():
    assert read_feature(b"null", "there", 3) == []
    assert read_feature(b'{"explanations": []}', "there", 3) == []
    assert read_feature(b'{"index": "3"}', "there", 3) == []
    (found,) = read_feature(b'{"explanations": [{"id": "a", "description": "x"}]}', "there", 3)
    assert found == Explanation(3, "a", "x")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", r"there: no JSON \(Expecting value\), it begins with b'<html>'"),
        (b"[]", "there holds a JSON list"),
        (b'{"explanations": {"a": 1}}', "no list of objects"),
        (b'{"explanations": ["ships"]}', "no list of objects"),
        (b'{"explanations": [{"text": "x"}]}', "there has no 'description'"),
        (b"\xff\xfe", "there: no JSON"),
        (b"[" * 100_000, "there: no JSON"),
    ],
)
def test_an_answer_that_is_none_is_refused(body, message):
    with pytest.raises(UserError, match=message):
        read_feature(body, "there", 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"index": "three"}, "'index' of batch, line 2 is 'three', not the number of a feature"),
        ({"index": "-1"}, "'index' of batch, line 2 is '-1'"),
        ({"index": "٣"}, "'index' of batch"),
        ({"index": 3.5}, "'index' of batch"),
        ({"index": True}, "'index' of batch"),
        ({"index": None}, "'index' of batch"),
        ({"index": "9" * 5000}, "'index' of batch"),
        ({"description": 7}, "'description' of batch, line 2 holds int, not text"),
        ({"modelId": "gpt2-small"}, "batch, line 2 is of modelId 'gpt2-small', not 'gemma-2-2b'"),
        ({"layer": "19-gemmascope-res-16k"}, "batch, line 2 is of layer '19-gemmascope-res-16k', not '20-"),
    ],
)
def test_a_row_that_is_no_explanation_of_the_source_is_named(changed, message):
    with pytest.raises(UserError, match=message):
        read(lines([row(1, "x"), {**row(3, "y"), **changed}]))


def test_damaged_files_are_named():
    whole = lines([row(index, "x" * index) for index in range(100)])
    for broken in (whole[:-20], whole[:-4] + b"0000", whole[:40] + b"\xff" * 40 + whole[80:]):
        with pytest.raises(UserError, match="batch is damaged or cut off"):
            read(broken)
    with pytest.raises(UserError, match="batch, line 1: no JSON"):
        read(b"PK\x03\x04 an archive")
    assert read(b"") == []


def test_explanations_of_each_feature_are_found_again_in_a_file(tmp_path):
    rows = [Explanation(feature, f"id{n}", f"text {n}", score=n / 2) for n, feature in enumerate((10, 2, 10, 0))]
    Explanations(rows).save(tmp_path / "some.parquet")
    for found in (Explanations(rows), Explanations.load(tmp_path / "some.parquet")):
        assert found.of(10) == [rows[0], rows[2]]
        assert (found.of(2), found.of(0)) == ([rows[1]], [rows[3]])
        assert found.of(1) == found.of(11) == []
    joined = Explanations.joined([Explanations(rows[:2]), Explanations(), Explanations(rows[2:])])
    assert joined.of(10) == [rows[0], rows[2]]
    assert Explanations.joined([]).of(0) == []
