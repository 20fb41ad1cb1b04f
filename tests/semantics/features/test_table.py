import pytest
import torch

from sae_match.semantics.contexts import Contexts
from sae_match.semantics.features import table as module
from sae_match.semantics.features.table import Activity, feature_table
from sae_match.semantics.passages import Passages, text_of
from sae_match.text.batches import pad

TEXTS = ("The Congress of the United States has met in the city of Washington", "The city of the people", "A state")


class Said:
    """Descriptions of some features."""

    def of(self, layer, feature):
        return {(20_004, 1): "the word of"}.get((layer, feature))


@pytest.fixture(scope="module")
def read(bundled_model):
    """Four features on three documents: on every “ of”, on every “ city” and “ Congress”, on nothing, on all."""
    tokenizer = bundled_model[1]
    rows = [[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]] for text in TEXTS]
    batch = pad("prose", rows, tokenizer)
    words = [[text_of(token, tokenizer) for token in row] for row in rows]
    f = torch.zeros(int(batch.scored.sum()), 4)
    for at, (row, position) in enumerate(batch.scored.nonzero().tolist()):
        word = words[row][position]
        f[at] = torch.tensor([float(word == " of"), 2.0 * (word in (" city", " Congress")) * (row + 1), 0.0, 1.0])
    contexts = Contexts(strongest=2)
    contexts.start({20_004: 4}, ["prose"])
    contexts.add(20_004, batch, f)
    active = (f > 0).sum(0)
    activity = Activity({"prose": active, "code": torch.tensor([1, 0, 0, 2])}, f.sum(0).double() / active, len(f))
    return words, f, activity, Passages(contexts, [batch], tokenizer)


@pytest.fixture(scope="module")
def rows(read):
    _, _, activity, passages = read
    return feature_table(20_004, 4, activity, passages, Said(), "seed").to_pylist()


def test_a_row_says_how_often_a_feature_is_active(read, rows):
    _, f, _, _ = read
    for feature, row in enumerate(rows):
        assert (row["layer"], row["collection"], row["feature"], row["tokens"]) == (4, "seed", feature, len(f))
        assert row["active_prose"] == int((f[:, feature] > 0).sum())
        assert row["active"] == row["active_prose"] + row["active_code"]
        assert row["dead"] is (feature == 2)
    assert [row["mean_activation"] for row in rows[2:]] == [None, 1.0]


def test_tokens_are_counted_among_those_that_were_sampled(read, rows):
    words, _, _, _ = read
    of = sum(line[1:].count(" of") for line in words)
    assert rows[0]["top_tokens"] == [{"token": " of", "count": of}]
    assert rows[0]["sampled"] == of
    assert {one["token"]: one["count"] for one in rows[1]["top_tokens"]} == {" Congress": 1, " city": 2}
    assert (rows[2]["top_tokens"], rows[2]["sampled"], rows[2]["contexts"]) == ([], 0, [])
    assert len(rows[3]["top_tokens"]) == 10 < len({word for line in words for word in line[1:]})


def test_contexts_are_where_a_feature_is_strongest_in_each_document(read, rows):
    words, _, _, _ = read
    found = rows[1]["contexts"]
    # Two documents of two are kept, the second is stronger.
    assert [(one["document"], one["token"], one["value"]) for one in found] == [
        (1, " city", 4.0),
        (0, " Congress", 2.0),
    ]
    for one in found:
        line = words[one["document"]]
        assert line[one["position"]] == one["token"]
        assert one["before"] == "".join(line[max(1, one["position"] - 10) : one["position"]])
        assert one["after"] == "".join(line[one["position"] + 1 : one["position"] + 6])
        assert one["dataset"] == "prose"


def test_a_published_description_is_the_label_and_else_what_a_feature_fires_on(rows):
    assert [row["description"] for row in rows] == [None, "the word of", None, None]
    assert [row["label"] for row in rows[:3]] == ["' of' 100%", "the word of", ""]


def test_without_text_there_are_labels_of_others_only(read):
    found = feature_table(20_004, 4, read[2], None, Said()).to_pylist()
    assert [row["label"] for row in found] == ["", "the word of", "", ""]
    assert all(row["contexts"] == row["top_tokens"] == [] for row in found)
    assert "collection" not in found[0]


def test_features_are_looked_at_together_without_a_trace_of_it(read, rows, monkeypatch):
    monkeypatch.setattr(module, "_TOGETHER", 3)
    assert feature_table(20_004, 4, read[2], read[3], Said(), "seed").to_pylist() == rows


def test_columns_are_named_as_documented(read):
    names = feature_table(20_004, 4, read[2], read[3], None, "seed").column_names
    assert {name for name in names if f"`{name}`" not in feature_table.__doc__} == {"active_code"}
