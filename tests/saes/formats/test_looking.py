"""Look before you load: what a folder is, how that is known, and what is asked for where it is not clear."""

import shutil

import pytest

import sae_match
from sae_match import load_sae
from sae_match.errors import UserError
from sae_match.saes.formats import FORMATS, gemma_scope
from tests.faults.saes import FORMATS as SMALL
from tests.saes.formats import layouts, more_layouts
from tests.saes.formats.layouts import D_IN, D_SAE, matrices


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_recognised_and_loaded_without_its_name(name, tmp_path):
    case = SMALL[name]
    case.write(tmp_path)
    said = sae_match.describe(str(tmp_path))
    assert said.format == name
    assert case.weights in said.because
    assert 3 in said.layers
    assert said.widths == ([D_SAE] if name != "state_dict" else [])
    auto = load_sae("auto", str(tmp_path), layer=3)
    assert auto.content_hash() == load_sae(name, str(tmp_path), layer=3, **case.which).content_hash()
    assert str(said).startswith(f"{said.source}\nformat:       {name} (by ")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "gemma_scope_2_crosscoder"])
def test_one_sae_in_a_folder_of_its_own_needs_no_layer(name, tmp_path):
    case = SMALL[name]
    case.write(tmp_path)
    own = (tmp_path / case.weights).parent
    own = own.parent if name == "llama_scope" else own
    assert load_sae("auto", str(own)).d_in == D_IN


def test_several_are_told_apart_by_what_picks_them(tmp_path, make_sae):
    for layer, l0 in ((3, 5), (3, 9), (4, 5)):
        gemma_scope.save(make_sae(layer + l0), tmp_path, layer=layer, width="10", l0=l0)
    said = sae_match.describe(str(tmp_path))
    assert (said.layers, said.l0s, said.widths) == ([3, 4], [5, 9], [10])
    with pytest.raises(UserError, match=r"holds 3 dictionaries, and 2 of them fit .*l0=5\), \(layer=3"):
        load_sae("auto", str(tmp_path), layer=3)
    with pytest.raises(UserError, match=r"and none fits \{'layer': 7\}"):
        load_sae("auto", str(tmp_path), layer=7)
    assert load_sae("auto", str(tmp_path), layer=4).d_sae == 10
    assert load_sae("auto", str(tmp_path), layer=3, l0=9).d_sae == 10


def test_two_formats_that_both_fit_are_refused_and_both_named(tmp_path, make_sae):
    layouts.write_sae_lens(tmp_path / "layer_3", matrices(), architecture="standard")
    gemma_scope.save(make_sae(0), tmp_path, layer=3, width="10", l0=5)
    with pytest.raises(UserError, match=r"fits several formats: gemma_scope \(by .*\), sae_lens \(by .*\); say which"):
        sae_match.describe(str(tmp_path))


def test_configs_of_two_formats_beside_one_file_are_refused_too(tmp_path):
    layouts.write_sae_lens(tmp_path / "a", matrices(), architecture="standard")
    (tmp_path / "a" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"llamascopium \(by .*\), sae_lens \(by "):
        load_sae("auto", str(tmp_path), layer=3)


def test_what_is_no_format_is_told_by_what_is_missing(tmp_path):
    layouts.write_sparsify(tmp_path, layouts.sparsify_tensors())
    (tmp_path / "layers.3" / "cfg.json").unlink()
    (tmp_path / ".hidden").write_text("")
    with pytest.raises(UserError) as caught:
        sae_match.describe(str(tmp_path))
    said = str(caught.value)
    assert "It holds layers.3/sae.safetensors." in said
    assert "sparsify: layers.3/cfg.json is missing" in said
    assert all(f"{name}: " in said for name in FORMATS)
    assert "sae_match/saes/formats" in said
    assert "\n" not in said


def test_what_no_format_can_hold_is_refused_with_the_reason(tmp_path):
    (tmp_path / "config.yaml").write_text("model_kind: cross_layer_transcoder")
    (tmp_path / "W_enc_0.safetensors").write_text("")
    with pytest.raises(UserError, match="cannot be read: cross-layer transcoders write every later layer"):
        sae_match.describe(str(tmp_path))


def test_a_place_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither a folder nor a repository"):
        sae_match.describe(str(tmp_path / "nothing"))


def test_transcoders_say_what_they_are_and_where_they_read(tmp_path):
    said = sae_match.describe(str(more_layouts.write_transcoder(tmp_path)))
    assert said.sites == ["mlp_input"]
    assert said.l0s == ["medium_affine"]
    assert "matched only: it is a transcoder" in str(said)


def test_a_config_that_contradicts_is_told_and_the_rest_is_described(tmp_path):
    layouts.write_sae_lens(tmp_path / "layer_4", matrices(), architecture="standard")
    shutil.copytree(tmp_path / "layer_4", tmp_path / "blocks.3.hook_resid_post")
    said = sae_match.describe(str(tmp_path))
    assert said.layers == [3, 4]
    assert "not sound:" in str(said)
    assert "which is not at layer 4" in str(said)
