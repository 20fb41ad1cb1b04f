"""Transcoders look like SAEs, and are refused by the name of their repository and by what their files hold."""

import numpy as np
import pytest
import torch

from sae_match import load_sae
from sae_match.errors import UserError
from sae_match.saes.formats import describe_sae, gemma_scope
from sae_match.saes.sae import TRANSCODING, Transcoder
from tests.saes.formats import layouts
from tests.saes.formats.layouts import D_IN, D_SAE, linear, matrices

TRANSCODERS = [
    "google/gemma-scope-2b-pt-transcoders",
    "a/gemma-scope-9b-pt-transcoder",
    "models--google--gemma-scope-2b-pt-transcoders/snapshots/0",
]


@pytest.mark.parametrize("place", TRANSCODERS)
def test_a_repository_of_transcoders_is_known_by_its_name(tmp_path, monkeypatch, make_sae, place):
    monkeypatch.chdir(tmp_path)
    gemma_scope.save(make_sae(0), tmp_path / place, layer=3, width="10", l0=5)
    said = describe_sae("gemma_scope", place, layer=3, width="10", l0=5)
    assert isinstance(load_sae("gemma_scope", place, layer=3, width="10", l0=5), Transcoder)
    assert said.hook == "model.layers.3.pre_feedforward_layernorm.output"
    assert said.unmeasurable == TRANSCODING


def test_a_folder_of_transcoders_of_another_name_is_told(tmp_path, make_sae):
    gemma_scope.save(make_sae(0), tmp_path, layer=3, width="10", l0=5)
    assert isinstance(load_sae("gemma_scope", str(tmp_path), layer=3, width="10", l0=5, transcoder=True), Transcoder)


@pytest.mark.parametrize("ask", [load_sae, describe_sae])
def test_a_repository_of_crosscoders_is_refused_by_its_name(tmp_path, monkeypatch, make_sae, ask):
    monkeypatch.chdir(tmp_path)
    gemma_scope.save(make_sae(0), tmp_path / "a" / "gemma-scope-2b-pt-crosscoders", layer=3, width="10", l0=5)
    with pytest.raises(UserError, match=r"holds crosscoders by its name, whose features read several layers: no SAEs"):
        ask("gemma_scope", "a/gemma-scope-2b-pt-crosscoders", layer=3, width="10", l0=5)


def test_saes_whose_folder_only_mentions_transcoders_are_read(tmp_path, make_sae):
    source = tmp_path / "against-transcoders" / "gemma-scope-2b-pt-res"
    gemma_scope.save(make_sae(0), source, layer=3, width="10", l0=5)
    assert load_sae("gemma_scope", str(source), layer=3, width="10", l0=5).d_sae == 10


SKIP = {"W_skip": torch.zeros(D_IN, D_IN)}


def with_others(format, folder, make_sae, others, connection="W_skip"):
    """An SAE in a format's layout, with further tensors beside its own; gives what picks it."""
    if connection in others and format == "gemma_scope_2":
        others = {"affine_skip_connection": others[connection]}
    if format == "gemma_scope":
        file = gemma_scope.save(make_sae(0), folder, layer=3, width="10", l0=5)
        np.savez(file, **{name: t.numpy() for name, t in {**make_sae(0).tensors(), **others}.items()})
        return {"width": 10, "l0": 5}
    if format == "gemma_scope_2":
        layouts.write_gemma_scope_2(folder, {**layouts.gemma_scope_2_tensors(), **others})
        return {"width": D_SAE, "l0": "medium"}
    if format == "llama_scope":
        layouts.write_llama_scope(folder, {**linear(b_dec="decoder.bias"), **others})
    elif format == "sae_lens":
        layouts.write_sae_lens(folder, {**matrices(), **others}, architecture="standard")
    elif format == "sparsify":
        layouts.write_sparsify(folder, {**layouts.sparsify_tensors(), **others})
    else:
        layouts.write_dictionary_learning(folder, "AutoEncoder", {**linear(b_dec="bias"), **others})
    return {}


FORMATS = ("gemma_scope", "gemma_scope_2", "llama_scope", "sae_lens", "sparsify", "dictionary_learning")


@pytest.mark.parametrize("format", FORMATS)
def test_a_connection_beside_the_features_is_refused(tmp_path, make_sae, format):
    which = with_others(format, tmp_path, make_sae, SKIP)
    with pytest.raises(UserError, match=r"holds .*skip.*, a connection beside the features: a transcoder, no SAE"):
        load_sae(format, str(tmp_path), layer=3, **which)


@pytest.mark.parametrize("format", FORMATS)
def test_a_bias_of_what_is_written_elsewhere_is_refused(tmp_path, make_sae, format):
    which = with_others(format, tmp_path, make_sae, {"b_dec_out": torch.ones(D_IN)})
    with pytest.raises(UserError, match=r"holds b_dec_out, a bias of another place that is written: a transcoder"):
        load_sae(format, str(tmp_path), layer=3, **which)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["log_scale", "B_DEC", "b_dec\n[red]"])
def test_what_saes_of_a_layout_do_not_have_is_refused(tmp_path, make_sae, format, name):
    which = with_others(format, tmp_path, make_sae, {name: torch.zeros(D_SAE)})
    with pytest.raises(UserError, match=r"holds .*, which SAEs of this layout do not have \(.*dec.*\)") as caught:
        load_sae(format, str(tmp_path), layer=3, **which)
    assert "\n" not in str(caught.value)


def test_a_parameter_of_another_architecture_is_refused(tmp_path):
    layouts.write_sae_lens(tmp_path, {**matrices(), "b_gate": torch.zeros(D_SAE)}, architecture="standard")
    with pytest.raises(UserError, match=r"holds b_gate, which SAEs of this layout do not have \(W_enc, b_enc"):
        load_sae("sae_lens", str(tmp_path), layer=3)


@pytest.mark.parametrize("name", ["feature_act_mask", "feature_act_scale"])
def test_factors_of_features_must_be_one(tmp_path, name):
    own = linear(b_dec="decoder.bias")
    plain = load_sae("llama_scope", str(layouts.write_llama_scope(tmp_path / "plain", own)), layer=3)
    ones = layouts.write_llama_scope(tmp_path / "ones", {**own, name: torch.ones(D_SAE)})
    assert load_sae("llama_scope", str(ones), layer=3).content_hash() == plain.content_hash()
    masked = layouts.write_llama_scope(tmp_path / "masked", {**own, name: torch.arange(D_SAE) > 0})
    with pytest.raises(UserError, match=rf"{name} is not one; SAEs with a scale or a mask"):
        load_sae("llama_scope", str(masked), layer=3)


def test_an_sae_of_saelens_that_writes_elsewhere_is_refused(tmp_path):
    about = {"hook_name": "blocks.3.hook_resid_post", "hook_name_out": "blocks.3.hook_mlp_out"}
    layouts.write_sae_lens(tmp_path, matrices(), architecture="standard", metadata=about)
    with pytest.raises(UserError, match=r"it reads blocks\.3\.hook_resid_post and writes .*: a transcoder, no SAE"):
        load_sae("sae_lens", str(tmp_path), layer=3)


def test_gemma_scope_2_says_what_its_files_are(tmp_path):
    layouts.write_gemma_scope_2(tmp_path, layouts.gemma_scope_2_tensors(), type="crosscoder")
    with pytest.raises(UserError, match=r"config\.json: type must be 'sae', got 'crosscoder'"):
        load_sae("gemma_scope_2", str(tmp_path), layer=3, width=D_SAE, l0="medium")
