"""Presets of whole releases: every layer, held against the list of the package sae-lens."""

from collections import defaultdict
from functools import cache

import pytest

from tests.settings.presets import FILES, paths, preset

pytest.importorskip("sae_lens", exc_type=ImportError)

from tests.saes.formats.registered import FILES as THEIRS
from tests.saes.formats.registered import registered
from tests.settings.presets import collection_of

LISTED = [name for name in FILES if "/" in name or name == "gemma_scope_2b_transcoders"]
SITES = {"mlp": "mlp", "attention": "attention", "transcoders": "mlp_input", "residual": "residual"}
# The list has neither of 27b's base model.
ABSENT = {"27b_pt_mlp", "27b_pt_attention"}


@pytest.mark.parametrize("name", sorted({name.partition("/")[0]: name for name in LISTED}.values()))
def test_a_preset_is_composed_as_it_stands(name):
    composed, written = preset(name), collection_of(name)
    assert (composed.source, composed.site, composed.layers) == (written.source, written.site, written.layers)


@cache
def published():
    """Paths of tensors by repository."""
    found = defaultdict(set)
    for one in registered():
        found[one.source].add(THEIRS[one.loader][0].format(one.path))
    return found


@pytest.mark.parametrize("name", LISTED)
def test_every_layer_of_a_preset_is_listed(name):
    collection = collection_of(name)
    files = [paths(collection, layer)[-1] for layer in sorted(collection.layers)]
    assert len(set(files)) == len(files) > 1
    assert {*files} <= published()[collection.source]


@pytest.mark.parametrize("folder", ["qwen_scope", "circuit_tracer", "llama_scope_r1_distill", "llama_scope"])
def test_these_presets_leave_nothing_of_their_repositories_out(folder):
    mine = defaultdict(set)
    for name in (name for name in LISTED if name.startswith(f"{folder}/")):
        collection = collection_of(name)
        mine[collection.source] |= {paths(collection, layer)[-1] for layer in collection.layers}
    loader = {"qwen_scope": "qwen_scope", "circuit_tracer": "mwhanna_transcoder"}.get(folder, folder)
    assert mine.keys() == {one.source for one in registered() if one.loader == loader}
    assert all(mine[source] == published()[source] for source in mine)


def test_every_model_and_site_of_gemma_scope_2_has_a_preset():
    wanted = {
        f"{size}_{kind}_{site}"
        for size in ("270m", "1b", "4b", "12b", "27b")
        for kind in ("pt", "it")
        for site in SITES
    }
    for name in wanted - ABSENT:
        collection = collection_of(f"gemma_scope_2/{name}")
        site = name.rpartition("_")[2]
        assert collection.site == SITES[site]
        folder = collection.layers[0]["site"]
        listed = {
            one.which["layer"]
            for one in registered()
            if one.source == collection.source
            and (one.which["site"], one.which["width"], one.which["l0"]) == (folder, "16k", "big")
        }
        assert {*collection.layers} == listed, name
    assert not any(f"gemma_scope_2/{name}" in FILES for name in ABSENT)
