"""Whose pages on Neuronpedia belong to whose SAEs: against SAELens' list, which names them file by file."""

from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.saes.settings import NeuronpediaSettings, SAESettings
from sae_match.settings.entry import register, typed
from sae_match.settings.match import MatchSettings
from tests.conftest import ROOT

GEMMA_SCOPE = "gemma-scope-{}-pt-{}-canonical"
RELEASES = {
    "gemma_scope_2b_canonical": GEMMA_SCOPE.format("2b", "res"),
    "gemma_scope_2b_paper": GEMMA_SCOPE.format("2b", "res"),
    "gemma_scope_2b_similar": GEMMA_SCOPE.format("2b", "res"),
    "gemma_scope_2b_layers_20_21": GEMMA_SCOPE.format("2b", "res"),
    "gemma_scope_2b_65k": GEMMA_SCOPE.format("2b", "res"),
    **{f"gemma_scope_2b_layer_12_{width}": GEMMA_SCOPE.format("2b", "res") for width in ("16k", "32k", "65k", "1m")},
    **{f"gemma_scope_2b_layer_12_{width}": GEMMA_SCOPE.format("2b", "res") for width in ("262k", "524k")},
    "gemma_scope_2b_mlp": GEMMA_SCOPE.format("2b", "mlp"),
    "gemma_scope_2b_attention": GEMMA_SCOPE.format("2b", "att"),
    "gemma_scope_9b_canonical": GEMMA_SCOPE.format("9b", "res"),
    "gemma_scope_9b_131k": GEMMA_SCOPE.format("9b", "res"),
    "gemma_scope_2_4b_medium": "gemma-scope-2-4b-pt-res",
    "llama_scope_8x": "llama_scope_lxr_8x",
    "gpt2_res_jb": "gpt2-small-res-jb",
}
PATHS = {
    "gemma_scope": "layer_{layer}/width_{width}/average_l0_{l0}",
    "gemma_scope_2": "{site}/layer_{layer}_width_{width}_l0_{l0}",
    "llama_scope": "Llama3_1-8B-Base-L{layer}R-8x",
    "sae_lens": "{path}",
}


def collection(name, *overrides):
    register(match=MatchSettings)
    overrides = [f"sae={name}", "output_dir=somewhere", *overrides]
    overrides += ["sae.source=somewhere"] if name == "gemma_scope" else []
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return SAECollection.of(typed(compose("match", overrides), MatchSettings).sae)


@cache
def everything():
    package = pytest.importorskip("sae_lens")
    # The parser that libyaml brings is ten times as fast; the file is long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((Path(package.__file__).parent / "pretrained_saes.yaml").read_text(), loader)


def sae_lens(release):
    """Names on Neuronpedia by path, as SAELens lists them."""
    return {sae["path"]: sae["neuronpedia"] for sae in everything()[release]["saes"] if "neuronpedia" in sae}


@pytest.mark.parametrize("name", RELEASES)
def test_names_are_those_that_sae_lens_gives_to_the_same_files(name):
    saes, listed = collection(name), sae_lens(RELEASES[name])
    for layer, which in saes.layers.items():
        path = PATHS[saes.format].format(layer=layer, **which)
        named = "/".join(saes.neuronpedia[layer])
        if path in listed:
            assert named == listed[path]
        else:
            # What SAELens does not list must at least not go by the name of another SAE.
            assert named.endswith(f"__l0-{which['l0']}")
            assert named not in listed.values()


def test_other_l0s_are_named_as_sae_lens_names_them():
    listed = sae_lens("gemma-scope-2b-pt-res")
    for layer, l0 in ((5, 18), (12, 22), (19, 279)):
        saes = collection("gemma_scope_2b_canonical", f"sae.layers.{layer}.l0={l0}")
        assert "/".join(saes.neuronpedia[layer]) == listed[f"layer_{layer}/width_16k/average_l0_{l0}"]
        assert saes.neuronpedia[20] == ("gemma-2-2b", "20-gemmascope-res-16k")


def test_another_l0_never_goes_by_the_canonical_name():
    saes = collection("gemma_scope_9b_canonical", "sae.layers.20.l0=11")
    assert 20 not in saes.neuronpedia
    assert saes.neuronpedia[21] == ("gemma-2-9b", "21-gemmascope-res-16k")


@pytest.mark.parametrize("name", ["bundled", "bundled_seed_100", "gemma_scope", "gemma_scope_2_4b"])
def test_collections_without_pages(name):
    assert collection(name).neuronpedia == {}


def test_names_can_be_given_on_the_command_line():
    given = "sae.neuronpedia={model: my-model, source: '{layer}-mine-{width}'}"
    saes = collection("bundled", given, "+sae.neuronpedia.layers.3=other", "+sae.neuronpedia.layers.4=null")
    assert saes.neuronpedia[2] == ("my-model", "2-mine-1k")
    assert saes.neuronpedia[3] == ("my-model", "other")
    assert 4 not in saes.neuronpedia


def test_names_can_be_changed_on_the_command_line():
    changed = ("sae.neuronpedia.source='{layer}-mine'", "sae.neuronpedia.model=mine")
    assert collection("llama_scope_8x", *changed).neuronpedia[7] == ("mine", "7-mine")
    assert collection("llama_scope_8x", "sae.neuronpedia={model: null, source: null}").neuronpedia == {}
    single = collection("llama_scope_8x", "+sae.neuronpedia.layers.7=other")
    assert (single.neuronpedia[7][1], single.neuronpedia[8][1]) == ("other", "8-llamascope-res-32k")


@pytest.mark.parametrize("given", ["sae.neuronpedia.sauce=x", "sae.neuronpedia=gemma-2-2b"])
def test_what_names_nothing_is_refused(given):
    with pytest.raises(HydraException):
        collection("llama_scope_8x", given)


@pytest.mark.parametrize("given", ["sae.neuronpedia={source: x}", "+sae.neuronpedia.layers.3=x"])
def test_a_source_without_a_model_is_refused(given):
    with pytest.raises(UserError, match=r"names sources and no model; set sae\.neuronpedia\.model"):
        collection("bundled", given)


@pytest.mark.parametrize("template", ["{layer}-{depth}", "{layer", "{}", "{layer.real.nothing}", "{width:d}"])
def test_a_name_that_asks_for_what_there_is_not_says_what_there_is(template):
    settings = SAESettings("gemma_scope", "here", layers={"3": {"width": "1k", "l0": 6}})
    settings.neuronpedia = NeuronpediaSettings("m", template)
    with pytest.raises(UserError, match=r"is no name of a source of layer 3; \{layer\}, \{width\}, \{l0\} can stand"):
        SAECollection.of(settings)
