"""What files and folders say of the place that an SAE reads is held against what is asked for, in every format."""

import shutil

import pytest

from sae_match import load_sae
from sae_match.errors import UserError
from sae_match.saes.formats import FORMATS, describe_sae
from sae_match.saes.formats.shared.places import agreed_place, said_by_folder, said_by_hook, said_by_number
from tests.saes.formats import layouts, more_layouts
from tests.saes.formats.layouts import linear, matrices

SCOPE_2 = {"width": layouts.D_SAE, "l0": "medium"}


def gemma_scope_2(folder, **config):
    layouts.write_gemma_scope_2(folder, layouts.gemma_scope_2_tensors(), **config)


def llama_scope(folder, **config):
    layouts.write_llama_scope(folder, linear(b_dec="decoder.bias"), **config)


def sae_lens(folder, **config):
    layouts.write_sae_lens(folder, matrices(), architecture="standard", **config)


def dictionary(folder, **config):
    layouts.write_dictionary_learning(folder, "AutoEncoder", linear(b_dec="bias"), **config)


def moved(write, to):
    """Writes an SAE's folder under another name."""

    def write_there(folder):
        write(folder / "written")
        inside = folder / "written" / "layers.3"
        shutil.move(inside if inside.is_dir() else folder / "written", folder / to)

    return write_there


def sparsify(folder):
    layouts.write_sparsify(folder, layouts.sparsify_tensors())


ELSEWHERE = [
    ("gemma_scope_2", lambda f: gemma_scope_2(f, **hooks("model.layers.5.output")), SCOPE_2),
    ("llama_scope", lambda f: llama_scope(f, **in_and_out("blocks.5.hook_resid_post")), {}),
    ("sae_lens", lambda f: sae_lens(f, metadata={"hook_name": "blocks.5.hook_resid_post"}), {}),
    ("sae_lens", lambda f: sae_lens(f, metadata={"hook_layer": 5}), {}),
    ("sae_lens", lambda f: sae_lens(f, metadata={"hook_point_layer": 5}), {}),
    ("sae_lens", moved(sae_lens, "blocks.5.hook_resid_post"), {"path": "blocks.5.hook_resid_post"}),
    ("sae_lens", moved(lambda f: sae_lens(f, metadata={}), "layer_5"), {"path": "layer_5"}),
    ("sparsify", moved(sparsify, "layers.5"), {"path": "layers.5"}),
    ("sparsify", moved(sparsify, "layers.5.mlp"), {"path": "layers.5.mlp"}),
    ("dictionary_learning", lambda f: dictionary(f, layer=5), {}),
    ("dictionary_learning", lambda f: dictionary(f, submodule_name="resid_post_layer_5"), {}),
    ("dictionary_learning", moved(dictionary, "resid_post_layer_5"), {"path": "resid_post_layer_5"}),
    ("llamascopium", lambda f: more_layouts.write_llamascopium(f, **in_and_out("blocks.5.hook_resid_post")), {}),
    ("state_dict", lambda f: more_layouts.write_state_dict(f, name="SAE-l5.pth"), {"path": "SAE-l5.pth"}),
]


def hooks(name):
    return {"hf_hook_point_in": name, "hf_hook_point_out": name}


def in_and_out(name):
    return {"hook_point_in": name, "hook_point_out": name}


@pytest.mark.parametrize("ask", [load_sae, describe_sae])
@pytest.mark.parametrize(("format", "write", "which"), ELSEWHERE)
def test_an_sae_that_says_that_it_is_of_layer_5_is_none_of_layer_3(tmp_path, format, write, which, ask):
    write(tmp_path)
    with pytest.raises(UserError, match=r"which is not at layer 3$|is of layer 5, not of layer 3$"):
        ask(format, str(tmp_path), layer=3, **which)


def test_every_format_whose_files_say_it_is_tested():
    """In some layouts nothing but the path that is asked for says the layer."""
    by_path = {"gemma_scope", "gemma_scope_2_crosscoder", "qwen_scope", "circuit_tracer"}
    assert {case[0] for case in ELSEWHERE} == {*FORMATS} - by_path


CONTRADICTIONS = [
    ("gemma_scope_2", lambda f: gemma_scope_2(f, site="mlp_out"), {**SCOPE_2, "site": "mlp_out"}),
    ("gemma_scope_2", lambda f: gemma_scope_2(f, site="attn_out_all"), {**SCOPE_2, "site": "attn_out_all"}),
    ("llama_scope", lambda f: llama_scope(f, **in_and_out("blocks.3.hook_mlp_out")), {}),
    ("sae_lens", moved(sae_lens, "blocks.3.hook_mlp_out"), {"path": "blocks.3.hook_mlp_out"}),
    (
        "dictionary_learning",
        moved(lambda f: dictionary(f, submodule_name="resid_post_layer_3"), "mlp_out_layer_3"),
        {"path": "mlp_out_layer_3"},
    ),
]


@pytest.mark.parametrize("ask", [load_sae, describe_sae])
@pytest.mark.parametrize(("format", "write", "which"), CONTRADICTIONS)
def test_a_folder_and_a_config_that_name_different_places_are_refused(tmp_path, format, write, which, ask):
    write(tmp_path)
    with pytest.raises(UserError, match=r"says that the SAE reads .*, but .* says .*; they must name the same place"):
        ask(format, str(tmp_path), layer=3, **which)


@pytest.mark.parametrize("hook", ["model.layers.3.self_attn.o_proj.input", "model.layers.3.self_attn.output"])
def test_a_folder_of_attention_may_mean_heads_or_what_they_add(tmp_path, hook):
    gemma_scope_2(tmp_path, site="attn_out", **hooks(hook))
    assert describe_sae("gemma_scope_2", str(tmp_path), layer=3, site="attn_out", **SCOPE_2).hook == hook


@pytest.mark.parametrize(
    ("format", "write", "which", "place"),
    [
        ("gemma_scope_2", lambda f: gemma_scope_2(f, site="mlp_out", **hooks(None)), {"site": "mlp_out"}, "mlp_out"),
        ("llama_scope", lambda f: llama_scope(f, **in_and_out(None)), {}, "blocks.3.hook_resid_post"),
        ("sae_lens", moved(lambda f: sae_lens(f, metadata={}), "layers.3"), {"path": "layers.{layer}"}, "layers.3"),
        ("dictionary_learning", moved(dictionary, "mlp_out_layer_3"), {"path": "mlp_out_layer_3"}, "mlp_out_layer_3"),
    ],
)
def test_where_a_config_is_silent_the_folder_says_the_place(tmp_path, format, write, which, place):
    write(tmp_path)
    which = {**SCOPE_2, **which} if format == "gemma_scope_2" else which
    assert describe_sae(format, str(tmp_path), layer=3, **which).hook == place


@pytest.mark.parametrize("layer", [2, 3])
def test_what_one_layer_writes_the_next_reads(layer):
    hook = "blocks.3.hook_resid_pre"
    said = [*said_by_hook("cfg.json", hook), *said_by_number("cfg.json", 3), *said_by_folder("o/r", f"{hook}/cfg.json")]
    assert agreed_place(layer, said) == hook
    with pytest.raises(UserError, match=r"^cfg\.json: the SAE reads .*_resid_post, which is not at layer 2$"):
        agreed_place(2, said_by_hook("cfg.json", "blocks.3.hook_resid_post"))


def test_a_number_alone_is_the_number_of_the_layer():
    assert agreed_place(3, said_by_number("cfg.json", 3)) is None
    with pytest.raises(UserError, match=r"cfg\.json: the SAE is of layer 3, not of layer 2"):
        agreed_place(2, said_by_number("cfg.json", 3))


def test_the_folder_that_is_the_source_counts_where_its_name_is_a_place():
    with pytest.raises(UserError, match=r"the folder layers\.5: the SAE reads layers\.5, which is not at layer 3"):
        agreed_place(3, said_by_folder("/a/layers.5", "cfg.json"))
    for source, path in (("/a/my_layer_5", "cfg.json"), ("/a/layers.5", "b/cfg.json"), ("o/layers", "cfg.json")):
        assert said_by_folder(source, path) == []


def test_names_of_other_schemes_say_nothing():
    assert said_by_hook("cfg.json", None) == said_by_hook("cfg.json", "somewhere in layer 3") == []
    assert said_by_folder("o/r", "width_16k/trainer_0/cfg.json") == []


def test_a_place_that_is_no_text_is_refused():
    with pytest.raises(UserError, match=r"cfg\.json: the place .* must be named by text, got \[3\]"):
        said_by_hook("cfg.json", [3])


@pytest.mark.parametrize(
    ("format", "write", "message"),
    [
        ("sae_lens", lambda f: sae_lens(f, d_in=7), "d_in is 7 there"),
        ("sae_lens", lambda f: sae_lens(f, d_sae=12), "d_sae is 12 there"),
        ("llama_scope", lambda f: llama_scope(f, d_model=7), "d_in is 7 there"),
        ("dictionary_learning", lambda f: dictionary(f, activation_dim=7), "d_in is 7 there"),
        ("dictionary_learning", lambda f: dictionary(f, layer="3"), "layer must be a number, got '3'"),
    ],
)
def test_sizes_and_numbers_that_a_config_says_are_compared(tmp_path, format, write, message):
    write(tmp_path)
    with pytest.raises(UserError, match=message):
        load_sae(format, str(tmp_path), layer=3)


def test_the_width_that_was_read_in_training_is_compared(tmp_path):
    dictionary(tmp_path)
    config = '{"trainer": {"dict_class": "AutoEncoder"}, "buffer": {"d_submodule": 7}}'
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match="d_in is 7 there"):
        load_sae("dictionary_learning", str(tmp_path), layer=3)
