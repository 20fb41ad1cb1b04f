import pytest
import torch

from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.saes.shelf import InTurn, SAEShelf, size_of
from tests.saes.formats import layouts, more_layouts
from tests.saes.formats.layouts import D_SAE


@pytest.fixture
def collection(tmp_path, make_sae):
    for layer in range(4):
        gemma_scope.save(make_sae(layer), tmp_path, layer=layer, width="10", l0=1)
    return SAECollection("gemma_scope", str(tmp_path), layers={layer: {"width": "10", "l0": 1} for layer in range(4)})


@pytest.mark.parametrize("room", [0, 2, 4])
def test_what_fits_stays_and_all_else_is_read_again(collection, room, monkeypatch):
    size = size_of(collection.open(0))
    shelf, read = SAEShelf(collection, float(room * size)), []
    opened = collection.open
    monkeypatch.setattr(collection, "open", lambda layer: read.append(layer) or opened(layer))
    for _ in range(3):
        for layer in range(4):
            assert torch.equal(shelf.open(layer).W_enc, opened(layer).W_enc)
    assert read == [*range(4), *range(room, 4), *range(room, 4)]
    assert shelf.held == room * size


def test_the_size_is_that_of_all_tensors(make_sae):
    sae = make_sae(0, d_in=6, d_sae=10)
    assert size_of(sae) == 4 * (2 * 60 + 2 * 10 + 6)


def test_saes_whose_turn_it_is_are_read_once_and_others_each_time(collection):
    read = []
    saes = InTurn(lambda layer: read.append(layer) or collection.open(layer))
    for layer in (0, 0):
        saes.open(layer)
    assert read == [0, 0]
    saes.turn_to((0, 1))
    for layer in (0, 1, 0, 1, 3):
        assert torch.equal(saes.open(layer).W_enc, collection.open(layer).W_enc)
    assert read == [0, 0, 0, 1, 3]
    # Layer 1 stays, the others do not.
    saes.turn_to((1, 2))
    for layer in (1, 2, 1, 0):
        saes.open(layer)
    assert read == [0, 0, 0, 1, 3, 2, 0]


def test_what_is_only_matched_is_not_put_on_a_shelf(tmp_path):
    """Transcoders, and SAEs that normalise each token: whatever is measured of them would be wrong."""
    more_layouts.write_transcoder(tmp_path / "a")
    which = {"width": D_SAE, "l0": "medium_affine", "site": "transcoder"}
    coders = SAECollection("gemma_scope_2", str(tmp_path / "a"), layers={3: which}, site="mlp_input")
    assert coders.open(3).unmeasurable is not None
    with pytest.raises(UserError, match=r"SAE of layer 3: it is a transcoder: .*; it can be matched"):
        SAEShelf(coders, 1e9).open(3)
    config = {"architecture": "standard", "normalize_activations": "layer_norm"}
    layouts.write_sae_lens(tmp_path / "b", layouts.matrices(), **config)
    with pytest.raises(UserError, match="SAE of layer 3: it normalises every token by numbers of that token"):
        SAEShelf(SAECollection("sae_lens", str(tmp_path / "b"), layers={3: {}}), 1e9).open(3)
