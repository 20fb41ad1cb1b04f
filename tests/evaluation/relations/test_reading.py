import torch

from sae_match.evaluation.relations.reading import activity_on_text, read
from tests.conftest import random_sae


def test_scored_tokens_are_read_each_with_its_document(tiny_stream, tiny_batches):
    found = list(read(tiny_stream, "residual", [0, 2], tiny_batches))
    for one, batch in zip(found, tiny_batches, strict=True):
        assert one.dataset == batch.dataset
        assert one.document.tolist() == [batch.documents[0]] * 11 + [batch.documents[1]] * 6
        clean = tiny_stream.capture(batch.input_ids, batch.attention_mask)
        for layer in (0, 2):
            assert torch.allclose(one.values[layer], clean.values[layer][batch.scored], atol=1e-6)


def test_activity_is_what_both_encoders_say(tiny_stream, tiny_batches):
    saes = random_sae(0, 16, 20), random_sae(1, 16, 30)
    told = []
    found = activity_on_text(tiny_stream, "residual", saes, (1, 2), tiny_batches, watch=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert {dataset: (record.tokens, record.documents) for dataset, record in found.items()} == {
        "one": (34, [0, 1, 2, 3]),
        "two": (17, [0, 1]),
    }
    batch = tiny_batches[2]
    clean = tiny_stream.capture(batch.input_ids, batch.attention_mask)
    for sae, layer, matrix in zip(saes, (1, 2), found["two"].matrices(), strict=True):
        expected = sae.encode(clean.values[layer][batch.scored]) > 0
        assert torch.equal(torch.from_numpy(matrix.toarray()).bool(), expected)
    by_document = found["one"].by_document()
    assert by_document.shape == (4, 34)
    assert by_document.sum(1).tolist() == [11, 6, 11, 6]


def test_two_dictionaries_of_one_layer_read_the_same(tiny_stream, tiny_batches):
    sae = random_sae(0, 16, 20)
    found = activity_on_text(tiny_stream, "residual", (sae, sae), (1, 1), tiny_batches)
    source, target = found["one"].matrices()
    assert (source != target).nnz == 0
