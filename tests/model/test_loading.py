import os
import subprocess
import sys
import tracemalloc

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from sae_match import bundled
from sae_match.bounds import MOST_SETTINGS, MOST_VOCABULARY
from sae_match.errors import UserError
from sae_match.model.description import describe_model
from sae_match.model.loading import load_model, load_tokenizer, model_errors, refuse_longer_text
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from tests.model.architectures import random_model


def saved(folder):
    """A sound model with a tokenizer."""
    random_model("llama").save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(bundled.path("model"))
    tokenizer.save_pretrained(folder)
    return folder


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*no_model \(model\.source\)"):
        load_model(ModelSettings(str(tmp_path / "no_model")))


def test_a_folder_at_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "mine")
    stream, tokenizer = load_model(ModelSettings("~/mine"))
    assert stream.n_layers == 3
    assert tokenizer("a b")["input_ids"]
    with pytest.raises(UserError, match=r"there is no folder ~/yours \(model\.source\)"):
        load_model(ModelSettings("~/yours"))


def test_a_repository_that_cannot_be_reached_is_said_in_one_line(tmp_path):
    script = (
        "from sae_match.errors import UserError\n"
        "from sae_match.model.loading import ModelSettings, load_model\n"
        "try:\n    load_model(ModelSettings('owner/name'))\n"
        "except UserError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip().count("\n") == 0
    assert "cannot reach the hub for owner/name (model.source)" in said.stdout


def damaged(folder, how):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "lacking":
        save_file({name: tensor for name, tensor in tensors.items() if "layers.1." not in name}, file, {"format": "pt"})
    elif how == "misshapen":
        name = "model.layers.1.mlp.up_proj.weight"
        save_file({**tensors, name: tensors[name][:3].clone()}, file, {"format": "pt"})
    else:
        (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("truncated", "cannot load the model"),
        ("empty", "cannot load the model"),
        ("lacking", r"lack 9 of the model's weights, model\.layers\.1\..* among them; fetch the model again"),
        ("misshapen", "cannot load the model"),
        ("tokenizer", "cannot load the model"),
    ],
)
def test_damaged_files_are_said_in_one_line(tmp_path, how, line):
    damaged(saved(tmp_path), how)
    with pytest.raises(UserError, match=line) as caught:
        load_model(ModelSettings(str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_text_longer_than_the_models_positions_is_refused():
    stream = ResidualStream(random_model("gpt_2"))
    refuse_longer_text(stream, 64)
    with pytest.raises(UserError, match=r"text\.max_tokens=65 is more than the model's 64 positions"):
        refuse_longer_text(stream, 65)


def test_float16_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.dtype must be one of float32, bfloat16, got 'float16'"):
        load_model(ModelSettings(str(tmp_path), dtype="float16"))


def test_what_the_tokenizers_raise_is_a_line_and_a_fault_of_another_kind_is_not_hidden():
    with (
        pytest.raises(UserError, match=r"cannot load the model here \(model\.source\): no merge"),
        model_errors("here"),
    ):
        raise Exception("no merge")
    with pytest.raises(ZeroDivisionError), model_errors("here"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("config.json", MOST_SETTINGS),
        ("tokenizer_config.json", MOST_SETTINGS),
        ("tokenizer.json", MOST_VOCABULARY),
        ("model.safetensors.index.json", MOST_SETTINGS),
    ],
)
def test_a_file_beside_the_weights_that_would_fill_the_memory_is_not_read(tmp_path, name, most):
    file = saved(tmp_path) / name
    # Sparse: it takes no room on the disk, and would in memory.
    with file.open("ab") as opened:
        opened.truncate(most + 1)
    # What no library reads may be as large as it likes.
    with (tmp_path / "trainer_state.json").open("ab") as opened:
        opened.truncate(2 * MOST_VOCABULARY)
    settings, tracked = ModelSettings(str(tmp_path)), []
    # What a model is, is said without the others.
    told = ("config.json", "tokenizer_config.json")
    for read in (load_model, load_tokenizer, *([describe_model] if name in told else [])):
        tracemalloc.start()
        with pytest.raises(UserError, match=rf"{name}: a (file of settings|vocabulary) takes .* at most") as caught:
            read(settings)
        tracked.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert "\n" not in str(caught.value)
    assert max(tracked) < most


def test_settings_that_are_nested_without_end_are_one_line(tmp_path):
    (saved(tmp_path) / "tokenizer_config.json").write_text("[" * 200_000)
    for read in (load_model, describe_model):
        with pytest.raises(UserError) as caught:
            read(ModelSettings(str(tmp_path)))
        assert "\n" not in str(caught.value)
