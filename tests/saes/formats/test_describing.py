"""What is known of an SAE before its parameters are read is what its parameters turn out to be."""

import numpy as np
import pytest

from sae_match.errors import UserError
from sae_match.saes.formats import FORMATS, SAEFile, describe_sae, gemma_scope, load_sae, sae_files
from sae_match.saes.formats.shared.describing import SAEDescription, width_in
from tests.saes.formats import layouts, more_layouts
from tests.saes.formats.layouts import D_IN, D_SAE, linear, matrices

CROSSCODER = {"layers": "3_5", "width": D_SAE, "l0": "medium"}
MORE = {
    "gemma_scope_2_crosscoder": (more_layouts.write_crosscoder, CROSSCODER, "model.layers.3.output"),
    "sparsify": (lambda folder: layouts.write_sparsify(folder, layouts.sparsify_tensors()), {}, "layers.3"),
    "llamascopium": (more_layouts.write_llamascopium, {}, "blocks.3.hook_resid_post"),
    "qwen_scope": (more_layouts.write_qwen_scope, {}, "model.layers.3.output"),
    "circuit_tracer": (more_layouts.write_circuit_tracer, {}, "blocks.3.mlp.hook_in"),
    "state_dict": (more_layouts.write_state_dict, {"path": "SAE-l3.pth"}, None),
}
# What only the tensors say.
UNSAID = {"gemma_scope_2_crosscoder": ("d_in",), "state_dict": ("d_in", "d_sae")}


def write(format, folder, make_sae):
    """A small SAE of layer 3 in a format; returns what picks it and the place it says it reads."""
    if format == "gemma_scope":
        gemma_scope.save(make_sae(0, d_in=D_IN, d_sae=D_SAE), folder, layer=3, width=str(D_SAE), l0=5)
        return {"width": D_SAE, "l0": 5}, None
    if format == "gemma_scope_2":
        layouts.write_gemma_scope_2(folder, layouts.gemma_scope_2_tensors())
        return {"width": D_SAE, "l0": "medium"}, "model.layers.3.output"
    if format == "llama_scope":
        layouts.write_llama_scope(folder, linear(b_dec="decoder.bias"))
        return {}, "blocks.3.hook_resid_post"
    if format == "sae_lens":
        layouts.write_sae_lens(folder, matrices(), architecture="standard")
        return {}, "blocks.3.hook_resid_post"
    if format in MORE:
        write_it, which, hook = MORE[format]
        write_it(folder)
        return which, hook
    place = {"submodule_name": "resid_post_layer_3"}
    layouts.write_dictionary_learning(folder, "AutoEncoder", linear(b_dec="bias"), **place)
    return {}, "resid_post_layer_3"


@pytest.mark.parametrize("format", FORMATS)
def test_the_description_agrees_with_the_sae(format, tmp_path, make_sae):
    which, hook = write(format, tmp_path, make_sae)
    sae = load_sae(format, str(tmp_path), layer=3, **which)
    said = describe_sae(format, str(tmp_path), layer=3, **which)
    sizes = {size: None if size in UNSAID.get(format, ()) else getattr(sae, size) for size in ("d_in", "d_sae")}
    assert said == SAEDescription(**sizes, hook=hook, has_thresholds=said.has_thresholds, unmeasurable=sae.unmeasurable)
    assert said.has_thresholds in (None, sae.threshold is not None)
    # None of those that may lack thresholds leaves it open.
    assert (said.has_thresholds is None) == (format in {"gemma_scope", "gemma_scope_2", "llama_scope"})


def test_the_size_of_a_published_file_gives_its_width():
    assert width_in(302_131_416, 16_384) == 2304


def test_the_size_of_a_file_gives_the_width_that_its_header_gives(tmp_path, make_sae):
    file = gemma_scope.save(make_sae(0, d_in=24, d_sae=1024), tmp_path, layer=3, width="1k", l0=5)
    assert width_in(file.stat().st_size, 1024) == 24
    assert describe_sae("gemma_scope", str(tmp_path), layer=3, width="1k", l0=5).d_in == 24


def test_a_file_on_this_machine_says_its_width_whatever_its_size(tmp_path, make_sae):
    sae = make_sae(0, d_in=24, d_sae=32)
    file = gemma_scope.save(sae, tmp_path, layer=3, width="32", l0=5)
    np.savez_compressed(file, **{name: value.numpy() for name, value in sae.tensors().items()})
    assert width_in(file.stat().st_size, 32) is None
    assert describe_sae("gemma_scope", str(tmp_path), layer=3, width="32", l0=5).d_in == 24


@pytest.mark.parametrize(
    ("repository", "hook"),
    [
        ("google/gemma-scope-2b-pt-res", "model.layers.3.output"),
        ("google/gemma-scope-9b-it-res", "model.layers.3.output"),
        ("google/gemma-scope-9b-pt-mlp", "model.layers.3.post_feedforward_layernorm.output"),
        ("google/gemma-scope-2b-pt-att", "model.layers.3.self_attn.o_proj.input"),
        ("someone/gemma-scope-2b-pt-res", None),
    ],
)
def test_the_published_repositories_say_what_their_saes_read(repository, hook, monkeypatch):
    monkeypatch.setattr(gemma_scope, "on_this_machine", lambda *_: None)
    monkeypatch.setattr(gemma_scope, "locate", lambda *_: SAEFile("params.npz", 302_131_416, is_local=False))
    said = describe_sae("gemma_scope", repository, layer=3, width="16k", l0=59)
    assert said == SAEDescription(2304, 16_384, hook)


@pytest.mark.parametrize("size", [0, 302_131_416 // 2, 302_131_416 + 50_000])
def test_sizes_that_fit_no_width_give_none(size):
    assert width_in(size, 16_384) is None


@pytest.mark.parametrize("format", ["gemma_scope_2", "gemma_scope_2_crosscoder"])
def test_a_config_that_some_folders_have_not_is_no_file_that_is_missing(format, tmp_path, make_sae):
    which, _ = write(format, tmp_path, make_sae)
    config, weights = sae_files(format, str(tmp_path), layer=3, **which)
    (tmp_path / config.path).unlink()
    assert sae_files(format, str(tmp_path), layer=3, **which) == [weights]
    load_sae(format, str(tmp_path), layer=3, **which)
    (tmp_path / weights.path).unlink()
    with pytest.raises(UserError, match=f"no file {weights.path} in "):
        sae_files(format, str(tmp_path), layer=3, **which)
