import pytest
import torch

from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from tests.saes.formats import layouts


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


def test_saes_that_read_elsewhere_are_refused_before_they_are_read(tmp_path):
    layouts.write_sae_lens(tmp_path / "3", layouts.matrices(), architecture="standard")
    layers = {3: {"path": "3"}}
    assert SAECollection("sae_lens", str(tmp_path), layers=layers).open(3).d_in == layouts.D_IN
    (tmp_path / "3" / "sae_weights.safetensors").unlink()
    elsewhere = SAECollection("sae_lens", str(tmp_path), layers=layers, site="mlp")
    with pytest.raises(UserError, match=r"SAE of layer 3: the SAE reads .*hook_resid_post, that is residual of"):
        elsewhere.open(3)


def test_files_are_found_without_opening_them(collection):
    (file,) = collection.files(1)
    assert file.path == "layer_1/width_10/average_l0_1/params.npz"
    assert file.is_local
    collection.layers[1]["l0"] = 9
    with pytest.raises(UserError, match=r"SAE of layer 1: no file .* the nearest to average_l0_9 is average_l0_1"):
        collection.files(1)


def test_the_residual_before_the_first_layer_can_have_the_embedding_sae(tmp_path, make_sae):
    gemma_scope.save(make_sae(0), tmp_path, layer=0, width="10", l0=1)
    (tmp_path / "layer_0").rename(tmp_path / "embedding")
    which = {0: {"layer": "embedding", "width": "10", "l0": 1}}
    collection = SAECollection("gemma_scope", str(tmp_path), layers=which, site="residual_before")
    assert collection.open(0).d_sae == 10


def test_sites_are_known_and_the_residual_after_a_layer_is_the_default(collection):
    assert collection.site == "residual"
    with pytest.raises(UserError, match="unknown site 'mpl'; there are residual, residual_before, mlp, attention"):
        SAECollection("gemma_scope", "here", site="mpl")


def test_a_layer_may_come_from_another_source(collection, tmp_path, make_sae):
    gemma_scope.save(make_sae(7), tmp_path / "elsewhere", layer=1, width="10", l0=5)
    collection.layers[1] = {"source": str(tmp_path / "elsewhere"), "width": "10", "l0": 5}
    assert torch.equal(collection.open(1).W_enc, make_sae(7).W_enc)
    assert torch.equal(collection.open(3).W_enc, make_sae(3).W_enc)
    assert collection.files(1)[0].path == "layer_1/width_10/average_l0_5/params.npz"
    assert collection.describe(1) == f"{tmp_path / 'elsewhere'} layer=1 {{'width': '10', 'l0': 5}}"


def test_a_revision_is_of_the_collections_own_source(collection):
    collection.layers[1]["source"] = "other/repository"
    revised = SAECollection("gemma_scope", "first/repository", "abc", collection.layers)
    assert revised._which(0)["revision"] == "abc"
    assert "revision" not in revised._which(1)
