import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sae_match.semantics.contexts import Contexts
from sae_match.semantics.passages import Passages, text_of
from sae_match.text.batches import pad

SENTENCE = "The Congress of the United States has met in the city of Washington and it will act"


@pytest.fixture(scope="module")
def tokenizer(bundled_model):
    return bundled_model[1]


@pytest.fixture(scope="module")
def passages(tokenizer):
    """A feature that fires on two words of the first document, and one on the last word of the second."""
    rows = [
        [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        for text in (SENTENCE, "A short one")
    ]
    batch = pad("prose", rows, tokenizer)
    contexts = Contexts()
    contexts.start({4: 3}, ["prose"])
    f = torch.zeros(int(batch.scored.sum()), 3)
    where = batch.scored.nonzero().tolist()
    congress = [text_of(token, tokenizer) for token in rows[0]].index(" Congress")
    f[where.index([0, congress]), 0] = 3.0
    f[where.index([0, congress + 1]), 0] = 1.0
    f[-1, 1] = 2.0
    contexts.add(4, batch, f)
    return Passages(contexts, [batch], tokenizer)


def test_a_passage_is_the_text_around_the_strongest_token(passages):
    (found,) = passages.strongest(4, 0, before=1, after=3)
    assert found.tokens[found.position] == " Congress"
    assert "".join(found.tokens).strip().startswith("The Congress of the United")
    assert found.place.value == 3.0


def test_a_passage_ends_where_its_document_does(passages):
    (found,) = passages.strongest(4, 1)
    assert "".join(found.tokens).strip() == "A short one"
    assert found.tokens[found.position] == " one"


def test_a_label_names_what_a_feature_fires_on(passages):
    assert passages.label(4, 0) in ("' Congress' 50%, ' of' 50%", "' of' 50%, ' Congress' 50%")
    assert passages.label(4, 1) == "' one' 100%"
    assert passages.label(4, 2) == ""
    assert passages.strongest(4, 2) == []


def test_tokens_are_told_as_in_the_middle_of_a_sentence(tokenizer):
    ids = tokenizer("Yes, we can.\n\tx = {1: 'a b'}", add_special_tokens=False)["input_ids"]
    assert "".join(text_of(token, tokenizer) for token in ids) == tokenizer.decode(ids)


def test_the_space_that_a_tokenizer_strips_from_a_first_token_is_told():
    """As Llama 2's and Gemma's pieces are decoded."""
    words = Tokenizer(models.WordLevel({"▁a": 0, "▁dog": 1, "[UNK]": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    assert tokenizer.decode([1]) == "dog"
    assert text_of(1, tokenizer) == " dog"
