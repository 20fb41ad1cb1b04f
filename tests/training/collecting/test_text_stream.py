from dataclasses import replace

import pytest
import torch

from sae_match.errors import UserError
from sae_match.text.documents import part_of
from sae_match.text.sources import open_source
from sae_match.training.collecting.text_stream import CropStream, cut_evenly
from sae_match.training.sae_settings import SAETrainingSettings
from tests.training.words import as_text, random_documents, word_tokenizer

SETTINGS = SAETrainingSettings(context=8, crops=4, shuffle=6, seed=0)


def rows(batches):
    """Every crop of some batches without BOS and padding."""
    return [
        ids[scored].tolist() for batch in batches for ids, scored in zip(batch.input_ids, batch.scored, strict=True)
    ]


def words_of(text, part):
    """Ids of all words of a part, read without the stream; `w0` has id 2."""
    works = (work for source in text.datasets.values() for work in open_source(source) if part_of(work.group) == part)
    return sorted(int(word[1:]) + 2 for work in works for word in work.text.split())


@pytest.fixture
def text(tmp_path):
    return as_text(tmp_path, one=random_documents(300, 10))


def test_documents_are_cut_into_equal_crops_and_none_is_lost():
    pieces = cut_evenly(torch.arange(10), 7)
    assert [piece.tolist() for piece in pieces] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert [len(piece) for piece in cut_evenly(torch.arange(7), 7)] == [7]
    assert cut_evenly(torch.arange(0), 7) == []


def test_every_word_of_the_part_comes_once_behind_bos(text):
    batches = list(CropStream(text, word_tokenizer(), "training", SETTINGS))
    assert all((batch.input_ids[:, 0] == 0).all() and not batch.scored[:, 0].any() for batch in batches)
    crops = rows(batches)
    assert {len(crop) for crop in crops} == {5}
    assert sorted(token for crop in crops for token in crop) == words_of(text, "training")
    assert sum(map(len, rows(CropStream(text, word_tokenizer(), "fitting", SETTINGS)))) == len(
        words_of(text, "fitting")
    )


def test_what_is_trained_on_is_kept_apart_even_where_all_text_counts(text):
    text.datasets["one"] = replace(text.datasets["one"], whole=True)
    some = {tuple(crop) for crop in rows(CropStream(text, word_tokenizer(), "training", SETTINGS))}
    others = {tuple(crop) for crop in rows(CropStream(text, word_tokenizer(), "fitting", SETTINGS))}
    assert others
    assert not some & others


def test_equal_seeds_give_equal_streams_and_others_another_order(text):
    first, again, other = (
        rows(CropStream(text, word_tokenizer(), "training", replace(SETTINGS, seed=seed))) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)


def test_shuffling_parts_the_crops_of_a_document(text):
    crops = rows(CropStream(text, word_tokenizer(), "training", replace(SETTINGS, shuffle=1)))
    halves = {(*first, *second) for first, second in zip(crops[::2], crops[1::2], strict=True)}
    shuffled = rows(CropStream(text, word_tokenizer(), "training", replace(SETTINGS, shuffle=100)))
    parted = {(*first, *second) for first, second in zip(shuffled[::2], shuffled[1::2], strict=True)}
    assert len(halves & parted) < len(halves) // 10


@pytest.mark.parametrize("taken", [0, 1, 17, 1000])
def test_a_stream_goes_on_where_another_stood(text, taken):
    stream = CropStream(text, word_tokenizer(), "training", SETTINGS)
    for _ in range(taken):
        next(stream, None)
    state = stream.state_dict()
    later = CropStream(text, word_tokenizer(), "training", SETTINGS)
    later.load_state_dict(state)
    assert rows(later) == rows(stream)


def test_datasets_share_batches_evenly_until_the_shorter_ends(tmp_path):
    text = as_text(tmp_path, long=random_documents(400, 5), short=random_documents(40, 5, seed=1))
    stream = CropStream(text, word_tokenizer(), "training", SETTINGS)
    batches = list(stream)
    assert stream.ended == "short"
    short = sum(part_of(work.group) == "training" for work in open_source(text.datasets["short"]))
    assert sum(len(batch.input_ids) for batch in batches) == short + 2 * -(-(short + 1) // 2)
    assert all(len(batch.input_ids) == 4 for batch in batches[:-1])


def test_a_tokenizer_without_bos_is_refused_with_a_way_out(text):
    tokenizer = word_tokenizer(pad_token="<pad>", eos_token="w3")
    with pytest.raises(UserError, match=r"has no BOS token.*text\.bos"):
        CropStream(text, tokenizer, "training", SETTINGS)
    text.bos = "w3"
    assert (next(CropStream(text, tokenizer, "training", SETTINGS)).input_ids[:, 0] == 5).all()


def test_no_dataset_is_refused(text):
    text.datasets = {}
    with pytest.raises(UserError, match=r"text\.datasets is empty"):
        CropStream(text, word_tokenizer(), "training", SETTINGS)
