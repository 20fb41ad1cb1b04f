"""The presets of conf/sae: every layer's file follows from the lists of what was published."""

import pytest

from sae_match.errors import UserError
from sae_match.saes.formats import FORMATS
from sae_match.saes.settings import SAESettings
from tests.settings.presets import PRESETS, paths, preset

# Average L0s that exist for Gemma 2 2B, residual stream, 16k and 65k features, layers 0 to 25.
EXISTING_16K = (
    "13/25/46/105/226 10/20/40/102/250 13/24/53/141/142/304 14/28/59/142/315 17/31/60/124/125/281 18/34/68/143/309 "
    "19/36/70/144/301 20/36/69/137/285 20/37/71/142/301 21/37/73/151/340 21/39/77/166/395 22/41/80/168/393 "
    "22/41/82/176/445 23/43/83/84/173/403 23/43/83/84/173/388 23/41/78/150/308 23/42/78/154/335 23/42/77/150/304 "
    "23/40/74/138/280 23/40/73/137/279 22/38/71/139/294 22/38/70/139/301 21/38/72/147/349 21/38/74/75/157/404 "
    "20/38/73/158/457 16/28/55/116/285"
)
EXISTING_65K = (
    "11/17/27/43/73 9/16/30/54/121 11/20/37/77/169 13/23/42/89/193 14/25/46/89/177 17/29/53/105/211 17/30/56/107/208 "
    "18/31/57/107/203 19/33/59/111/213 19/34/61/118/240 20/36/66/128/265 21/37/70/134/273 21/38/72/141/297 "
    "22/40/74/75/142/288 21/40/73/144/284 21/38/68/127/240 21/38/69/128/244 21/38/68/125/233 21/36/64/116/117/216 "
    "21/35/63/115/216 20/34/61/114/221 20/33/61/111/112/225 20/33/62/116/117/248 20/35/64/123/124/272 "
    "19/34/63/124/273 15/26/48/93/197"
)
PAPER = "102 108 141 59 125 68 70 69 71 73 77 80 82 83 83 78 78 77 74 73 71 70 72 75 73 116"
CANONICAL = {
    "gemma_scope_2b_canonical": (
        "16k",
        "105 102 141 59 124 68 70 69 71 73 77 80 82 84 84 78 78 77 74 73 71 70 72 75 73 116",
    ),
    "gemma_scope_2b_65k": (
        "65k",
        "73 121 77 89 89 105 107 107 111 118 128 70 72 75 73 127 128 125 116 115 114 111 116 123 124 93",
    ),
    "gemma_scope_2b_mlp": (
        "16k",
        "119 105 95 95 85 114 133 60 136 88 110 98 108 112 97 80 72 68 106 109 109 113 121 128 73 126",
    ),
    "gemma_scope_2b_attention": (
        "16k",
        "104 79 93 117 116 135 61 99 129 127 70 80 85 92 71 98 71 79 72 122 62 65 106 73 96 77",
    ),
    "gemma_scope_9b_canonical": (
        "16k",
        "129 69 67 90 91 77 93 92 99 100 113 118 130 132 67 131 75 73 71 132 68 129 123 120 114 114 116 118 119 119 "
        "120 114 111 114 114 120 120 124 128 131 125 113",
    ),
    "gemma_scope_9b_131k": (
        "131k",
        "41 56 70 103 101 94 120 119 72 75 84 88 96 99 105 103 121 117 113 110 114 109 105 101 97 96 97 96 98 97 95 92 "
        "88 91 89 94 93 96 101 99 94 84",
    ),
}
# SAELens calls none of layer 12's SAEs of 131k features canonical; of its L0s this is the nearest to 100.
LAYER_12 = {"16k": 82, "32k": 76, "65k": 72, "131k": 129, "262k": 121, "524k": 115, "1m": 107}
SITES = {
    "gemma_scope_2b_mlp": "mlp",
    "gemma_scope_2b_attention": "attention",
    "gemma_scope_2b_transcoders": "mlp_input",
    "bundled_mlp": "mlp",
    "bundled_attention": "attention",
}


def numbers(text):
    return [int(number) for number in text.split()]


def existing(text):
    return [[int(number) for number in layer.split("/")] for layer in text.split()]


def l0s(collection):
    return [collection.layers[layer]["l0"] for layer in range(len(collection.layers))]


def nearest(options, wanted):
    return min(options, key=lambda option: (abs(option - wanted), option))


@pytest.mark.parametrize("name", PRESETS)
def test_every_layer_of_every_preset_names_its_files(name):
    collection = preset(name)
    files = [tuple(paths(collection, layer)) for layer in collection.layers]
    assert len(set(files)) == len(files)
    assert collection.site == SITES.get(name, "residual")


# What is said beside the layers, and the first file of layer 4.
OWN = {
    "gemma_scope": (["+sae.each={width: 1k, l0: 6}"], "layer_4/width_1k/average_l0_6/params.npz"),
    "gemma_scope_2": (["sae.each.width=256"], "resid_post/layer_4_width_256_l0_medium/config.json"),
    "gemma_scope_2_crosscoder": (
        ["sae.each.layers=[3,4]"],
        "crosscoder/layer_3_4_width_65k_l0_medium/config.json",
    ),
    "llamascopium": ([], "L4R/config.json"),
    "qwen_scope": ([], "layer4.sae.pt"),
    "circuit_tracer": ([], "layer_4.safetensors"),
    "state_dict": (["sae.path='SAE-l{layer}.pth'"], "SAE-l4.pth"),
    "llama_scope": (["sae.each.position=M"], "Llama3_1-8B-Base-L4M-8x/hyperparams.json"),
    "sae_lens": (["sae.path='layer_{layer}'"], "layer_4/cfg.json"),
    "sparsify": ([], "layers.4/cfg.json"),
    "dictionary_learning": (["sae.path='at_{layer}/trainer_0'"], "at_4/trainer_0/config.json"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_has_a_preset_of_its_name_that_takes_layer_numbers(name):
    said, file = OWN[name]
    collection = preset(name, "sae.layer_numbers=[3,4]", *said)
    assert collection.format == name
    assert sorted(collection.layers) == [3, 4]
    assert paths(collection, 4)[0] == file


@pytest.mark.parametrize("layers", [34, "3", [3, "four"], None])
def test_layers_of_a_crosscoder_that_are_no_list_are_refused(layers):
    which = {"layer": 3, "width": "65k", "l0": "medium", "site": "crosscoder"}
    with pytest.raises(UserError, match=r"a list such as \[9,17,22,29\], got|has the layers 3, not"):
        FORMATS["gemma_scope_2_crosscoder"].paths(layers=layers, **which | ({"layer": 4} if layers == "3" else {}))


def test_a_layer_may_be_picked_otherwise_than_the_others():
    said = ("sae.layer_numbers=[3,4]", "sae.path='at_{layer}'", "+sae.layers.4={path: other}", "+sae.each.revision=v2")
    assert preset("sae_lens", *said).layers == {
        3: {"path": "at_{layer}", "revision": "v2"},
        4: {"path": "other", "revision": "v2"},
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "gemma_scope", "path": "x"}, "'gemma_scope' takes no path; those with a path are sae_lens"),
        ({"format": "sae_lens", "layer_numbers": [3, 4]}, r"sae\.path must hold \{layer\}"),
        ({"format": "sae_lens", "layer_numbers": [3, 4], "path": "x"}, r"sae\.path must hold \{layer\}"),
        ({"format": "sparsify", "layer_numbers": [3, 4], "path": "x"}, r"sae\.path must hold \{layer\}"),
        (
            {"format": "sae_lens", "layer_numbers": [3, 4, 5], "layers": {"5": {"path": "x"}}},
            r"sae\.path must hold \{layer\}",
        ),
        ({"format": "sparsify", "layer_numbers": [3, 4], "each": {"layer": 7}}, r"sae\.each\.layer would read every"),
        ({"format": "sae_lens", "layer_numbers": [-1]}, r"sae\.layer_numbers must be layer numbers, from 0 on, got -1"),
        ({"format": "folder", "layer_numbers": [3]}, "takes its layers from the folder; to name them, say sae=gemma"),
    ],
)
def test_layer_numbers_and_paths_that_cannot_be_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        SAESettings(source="somewhere", **given)


def test_layers_that_name_folders_of_their_own_need_none_for_all():
    own = {"3": {"path": "a"}, "4": {"source": "other"}}
    which = SAESettings("sae_lens", "somewhere", layers=own, layer_numbers=[3, 4]).which()
    assert which == {3: {"path": "a"}, 4: {"source": "other"}}
    assert sorted(SAESettings("sparsify", "somewhere", layer_numbers=[3, 4]).which()) == [3, 4]


@pytest.mark.parametrize("name", CANONICAL)
def test_canonical_l0s(name):
    width, listed = CANONICAL[name]
    collection = preset(name)
    assert l0s(collection) == numbers(listed)
    assert {which["width"] for which in collection.layers.values()} == {width}


def test_canonical_and_paper_l0s_exist():
    for name, text in (
        ("gemma_scope_2b_canonical", EXISTING_16K),
        ("gemma_scope_2b_paper", EXISTING_16K),
        ("gemma_scope_2b_65k", EXISTING_65K),
    ):
        for l0, options in zip(l0s(preset(name)), existing(text), strict=True):
            assert l0 in options


def test_the_papers_l0s_are_the_nearest_that_exist():
    options, wanted = existing(EXISTING_16K), numbers(PAPER)
    assert l0s(preset("gemma_scope_2b_paper")) == list(map(nearest, options, wanted))


def test_similar_l0s_are_the_nearest_to_their_neighbours_from_layer_12_outwards():
    options = existing(EXISTING_16K)
    similar = {12: 82}
    for layer in (*range(11, -1, -1), *range(13, 26)):
        similar[layer] = nearest(options[layer], similar[layer + 1 if layer < 12 else layer - 1])
    assert l0s(preset("gemma_scope_2b_similar")) == [similar[layer] for layer in range(26)]


@pytest.mark.parametrize("width", LAYER_12)
def test_widths_of_layer_12(width):
    collection = preset(f"gemma_scope_2b_layer_12_{width}")
    assert collection.layers == {12: {"width": width, "l0": LAYER_12[width]}}
    assert paths(collection, 12) == [f"layer_12/width_{width}/average_l0_{LAYER_12[width]}/params.npz"]


def test_llama_scope_has_every_layer():
    collection = preset("llama_scope_8x")
    assert sorted(collection.layers) == list(range(32))
    folder = "Llama3_1-8B-Base-L31R-8x"
    assert paths(collection, 31) == [f"{folder}/hyperparams.json", f"{folder}/checkpoints/final.safetensors"]


def test_gpt2_layers_are_those_before_the_hook_points():
    collection = preset("gpt2_res_jb")
    folders = {layer: which["path"] for layer, which in collection.layers.items()}
    assert folders == {layer: f"blocks.{layer + 1}.hook_resid_pre" for layer in range(11)} | {
        11: "blocks.11.hook_resid_post"
    }
    assert all(which["centre_input"] is True for which in collection.layers.values())


def test_gemma_scope_2_layers():
    every, some = preset("gemma_scope_2_4b"), preset("gemma_scope_2_4b_medium")
    assert sorted(every.layers) == list(range(34))
    assert paths(every, 33)[1] == "resid_post_all/layer_33_width_16k_l0_big/params.safetensors"
    assert sorted(some.layers) == [9, 17, 22, 29]
    assert paths(some, 9)[1] == "resid_post/layer_9_width_16k_l0_medium/params.safetensors"


def test_layers_and_sites_are_checked():
    with pytest.raises(UserError, match=r"sae\.layers must be named by layer numbers, got 'one'"):
        SAESettings("gemma_scope", "here", layers={"one": {}})
    with pytest.raises(UserError, match="unknown site"):
        SAESettings("gemma_scope", "here", site="mpl")
