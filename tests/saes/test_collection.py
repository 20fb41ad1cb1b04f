import pytest
import torch

from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope


@pytest.fixture
def collection(tmp_path, make_sae):
    for layer in (0, 1, 3):
        gemma_scope.save(make_sae(layer), tmp_path, layer=layer, width="10", l0=layer)
    which = {layer: {"width": "10", "l0": layer} for layer in (3, 0, 1)}
    return SAECollection("gemma_scope", str(tmp_path), layers=which)


def test_each_layer_opens_its_own_file(collection, make_sae):
    for layer in (0, 1, 3):
        assert torch.equal(collection.open(layer).W_enc, make_sae(layer).W_enc)


def test_adjacent_pairs_skip_gaps(collection):
    assert collection.adjacent_pairs() == [(0, 1)]


def test_a_layer_without_an_sae_is_named(collection):
    with pytest.raises(UserError, match=r"no SAE for layer 2 in .*; layers with one: 0, 1, 3"):
        collection.open(2)


def test_a_missing_file_is_named_with_its_layer(collection):
    collection.layers[1]["l0"] = 9
    with pytest.raises(UserError, match="SAE of layer 1: no file layer_1/width_10/average_l0_9"):
        collection.open(1)
