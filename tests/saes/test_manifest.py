import json
import shutil
from pathlib import Path

import pytest

from sae_match import bundled
from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope, sae_lens
from sae_match.saes.manifest import NAME, read_folder, write_manifest
from sae_match.saes.settings import NeuronpediaSettings, SAESettings


@pytest.fixture
def folder(make_sae, tmp_path):
    """Two SAEs in Gemma Scope's layout, without a manifest."""
    for layer in (3, 4):
        gemma_scope.save(make_sae(layer, d_sae=10), tmp_path / "saes", layer=layer, width="10", l0=layer)
    return tmp_path / "saes"


WHICH = {3: {"width": "10", "l0": 3}, 4: {"width": "10", "l0": 4}}


def opened(folder):
    return SAECollection.of(SAESettings(format="folder", source=str(folder)))


def test_a_folder_that_says_what_it_holds_can_be_moved(folder, make_sae, tmp_path):
    write_manifest(folder, "gemma_scope", WHICH)
    moved = shutil.move(folder, tmp_path / 'elsewhere "1": {a}')
    collection = opened(moved)
    assert collection.layers == WHICH
    assert collection.open(4).content_hash() == make_sae(4, d_sae=10).content_hash()


def test_a_folder_that_says_nothing_is_looked_through(folder):
    assert read_folder(folder) == ("gemma_scope", WHICH)
    assert list(read_folder(Path(bundled.path("saes")))[1]) == list(range(8))


def test_names_on_neuronpedia_follow_from_what_the_folder_holds(folder):
    settings = SAESettings(
        format="folder", source=str(folder), neuronpedia=NeuronpediaSettings(model="m", source="{layer}-{width}")
    )
    assert SAECollection.of(settings).neuronpedia == {3: ("m", "3-10"), 4: ("m", "4-10")}


def test_several_saes_of_a_layer_are_not_chosen_between(folder, make_sae):
    gemma_scope.save(make_sae(3, d_sae=10), folder, layer=3, width="10", l0=7)
    with pytest.raises(UserError, match=r"several SAEs of layer 3 \(width 10, l0 3; width 10, l0 7\); choose with"):
        opened(folder)


def test_a_folder_that_is_not_there_or_holds_none_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere \(sae.source\)"):
        opened(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds neither saes.json nor SAEs in Gemma Scope's layout"):
        opened(tmp_path)


@pytest.mark.parametrize("changes", [{"layers": {"3": {"l0": 1}}}, {"revision": "main"}])
def test_layers_of_a_folder_are_not_named_twice(folder, changes):
    with pytest.raises(UserError, match="sae=folder takes its layers from the folder"):
        SAESettings(format="folder", source=str(folder), **changes)


LAYER = {"width": "10", "l0": 3}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("\xff", "cannot be read"),
        (" " * 2_000_000, "it is no manifest of SAEs"),
        ([], "must hold a format and layers"),
        ({"format": "gemma_scope"}, "must hold a format and layers"),
        ({"format": "gemma_scope", "layers": {}}, "must hold a format and layers"),
        ({"format": "pickle", "layers": {"3": LAYER}}, "unknown SAE format 'pickle'"),
        ({"format": ["gemma_scope"], "layers": {"3": LAYER}}, "unknown SAE format"),
        ({"format": "gemma_scope", "layers": {"three": LAYER}}, "layers are named by their numbers, got 'three'"),
        ({"format": "gemma_scope", "layers": {"-1": LAYER}}, "layers are named by their numbers"),
        ({"format": "gemma_scope", "layers": {"9" * 400: LAYER}}, "layers are named by their numbers"),
        ({"format": "gemma_scope", "layers": {"3": "width_10"}}, "what picks the SAE of layer 3"),
        ({"format": "gemma_scope", "layers": {"3": {"width": ["10"]}}}, "what picks the SAE of layer 3"),
        ({"format": "gemma_scope", "layers": {"3": {**LAYER, "source": "/etc"}}}, "must lie in this folder"),
        ({"format": "sae_lens", "layers": {"3": {"path": "../../other"}}}, "path of layer 3 leads out of this folder"),
        ({"format": "sae_lens", "layers": {"3": {"path": "/etc"}}}, "path of layer 3 leads out of this folder"),
        ({"format": "sae_lens", "layers": {"3": {"path": "a\0b"}}}, "path of layer 3 leads out of this folder"),
    ],
)
def test_what_is_no_manifest_is_refused(folder, said, reason):
    text = said if isinstance(said, str) else json.dumps(said)
    (folder / NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=reason):
        opened(folder)


def test_what_a_manifest_says_is_data(folder):
    """Nothing in it is resolved or made, whatever it looks like."""
    said = {"format": "gemma_scope", "layers": {"3": {"width": "${oc.env:HOME}", "l0": 3, "_target_": "os.system"}}}
    (folder / NAME).write_text(json.dumps(said))
    collection = opened(folder)
    assert collection.layers[3]["width"] == "${oc.env:HOME}"
    with pytest.raises((UserError, TypeError)):
        collection.open(3)


def recorded(folder, make_sae, format_name):
    """A folder of two SAEs whose manifest records what its files hold, and the file of layer 4."""
    which = WHICH
    if format_name == "sae_lens":
        which = {layer: {"path": f"layer_{layer}"} for layer in (3, 4)}
        for layer in which:
            hook = f"blocks.{layer}.hook_resid_post"
            sae_lens.save(make_sae(layer, d_sae=10), folder / f"layer_{layer}", model_name="m", hook_name=hook)
    files = [file for file in folder.rglob("*.*") if file.is_file()]
    write_manifest(folder, format_name, which, files)
    name = "params.npz" if format_name == "gemma_scope" else "sae_weights.safetensors"
    return next(file for file in files if file.name == name and "layer_4" in str(file))


@pytest.mark.parametrize("format_name", ["gemma_scope", "sae_lens"])
def test_a_file_that_is_not_what_was_recorded_is_refused_and_others_are_read(folder, make_sae, format_name):
    file = recorded(folder, make_sae, format_name)
    assert opened(folder).open(4).content_hash() == make_sae(4, d_sae=10).content_hash()
    content = bytearray(file.read_bytes())
    if format_name == "gemma_scope":
        # Another sound one in its place.
        gemma_scope.save(make_sae(9, d_sae=10), folder, layer=4, width="10", l0=4)
    else:
        # The last byte belongs to a number; nothing in the file tells.
        content[-1] ^= 1
        file.write_bytes(content)
    with pytest.raises(UserError, match=rf"SAE of layer 4: .*{file.name} does not hold what saes.json records"):
        opened(folder).open(4)
    opened(folder).open(3)
    # What is not recorded is read as it is.
    said = json.loads((folder / NAME).read_text())
    del said["files"][file.relative_to(folder).as_posix()]
    (folder / NAME).write_text(json.dumps(said))
    opened(folder).open(4)


def test_a_folder_with_its_record_can_be_moved(folder, make_sae, tmp_path):
    recorded(folder, make_sae, "gemma_scope")
    opened(shutil.move(folder, tmp_path / "elsewhere")).open(4)


@pytest.mark.parametrize("files", [[], "x", {"a": 1}, {"a": "0" * 63}, {"a": "Z" * 64}])
def test_a_record_that_is_none_is_refused(folder, files):
    write_manifest(folder, "gemma_scope", WHICH)
    (folder / NAME).write_text(json.dumps({**json.loads((folder / NAME).read_text()), "files": files}))
    with pytest.raises(UserError, match=r"saes\.json: files must name the SHA-256 of each"):
        opened(folder)
