import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sae_match import bundled
from sae_match.errors import UserError
from sae_match.model.description import describe_model, knows_token
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from tests.model.architectures import ARCHITECTURES, HIDDEN, LAYERS, VOCABULARY, random_model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_description_is_that_of_the_loaded_model(tmp_path, name):
    model = random_model(name)
    model.save_pretrained(tmp_path)
    found, stream = describe_model(ModelSettings(str(tmp_path))), ResidualStream(model)
    assert found.architecture == type(model).__name__
    assert (found.n_layers, found.d_in, found.vocabulary) == (LAYERS, HIDDEN, VOCABULARY)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.parameters_per_layer == sum(parameter.numel() for parameter in stream.layers[0].parameters())
    assert found.bytes == 4 * found.parameters
    assert found.widths == {site: stream.width(site) for site in found.widths}
    assert list(found.files) == ["model.safetensors"]
    assert found.missing == 0


def test_bfloat16_takes_half_the_memory(tmp_path):
    random_model("llama").save_pretrained(tmp_path)
    half, whole = (describe_model(ModelSettings(str(tmp_path), dtype=dtype)) for dtype in ("bfloat16", "float32"))
    assert 2 * half.bytes == whole.bytes


def test_a_folder_without_weights_is_said(tmp_path):
    random_model("llama").config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"holds no weights \(\*\.safetensors or \*\.bin\)"):
        describe_model(ModelSettings(str(tmp_path)))


def test_a_folder_without_a_config_is_said(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="cannot read the config of"):
        describe_model(ModelSettings(str(tmp_path)))


def described_offline(source, home):
    """What is said, without a hub, of a model that lies in its cache at `home`."""
    program = (
        "from sae_match.model.description import describe_model\n"
        "from sae_match.model.settings import ModelSettings\n"
        f"print(describe_model(ModelSettings({source!r})))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]


@pytest.mark.parametrize("lacking", [None, "model.safetensors", "config.json"])
def test_a_model_in_the_hubs_cache_needs_no_hub(tmp_path, lacking):
    model, cached = tmp_path / "model", tmp_path / "home" / "hub" / "models--owner--name"
    random_model("llama").save_pretrained(model)
    shutil.copytree(model, cached / "snapshots" / "c0ffee")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("c0ffee")
    if lacking is None:
        expected = str(describe_model(ModelSettings(str(model)))).strip()
        assert described_offline("owner/name", tmp_path / "home").strip() == expected
    else:
        (cached / "snapshots" / "c0ffee" / lacking).unlink()
        assert "cannot reach the hub for owner/name" in described_offline("owner/name", tmp_path / "home")


@pytest.mark.parametrize("kind", ["dictionary", "list"])
def test_whether_a_token_is_known_is_said_where_files_say_it(tmp_path, kind):
    folder = Path(shutil.copytree(bundled.path("model"), tmp_path / "model"))
    said = json.loads((folder / "tokenizer.json").read_text())
    some, added = next(iter(said["model"]["vocab"])), said["added_tokens"][0]["content"]
    if kind == "list":
        said["model"]["vocab"] = [[token, 0.0] for token in said["model"]["vocab"]]
        (folder / "tokenizer.json").write_text(json.dumps(said))
    model = ModelSettings(str(folder))
    assert [knows_token(model, name) for name in (some, added, "nothing")] == [True, True, False]
    (folder / "tokenizer.json").unlink()
    assert knows_token(model, "nothing") is None
