"""What a model's files say of it without being read is what its own class says."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, FalconConfig, FalconForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sae_match.errors import UserError
from sae_match.model import by_class, description, headers
from sae_match.model.by_class import sizes_by_class
from sae_match.model.description import describe_model
from sae_match.model.settings import ModelSettings
from tests.model.architectures import ARCHITECTURES, LAYERS, random_model

UNDERSTOOD = [name for name in ARCHITECTURES if name != "gemma_3_multimodal"]
WEIGHTS = "model.safetensors"


def by_headers(folder):
    files = sorted(file.name for file in folder.glob("model*.safetensors"))
    return headers.sizes_in_files(ModelSettings(str(folder)), files, None)


def change_config(folder, **changes):
    """Change a config; what is set to `...` is removed."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def change_tensors(folder, change):
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


@pytest.fixture
def saved(request, tmp_path):
    """The folder of a model."""
    random_model(getattr(request, "param", "llama")).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("saved", UNDERSTOOD, indirect=True)
def test_headers_say_what_the_class_says(saved):
    assert by_headers(saved) == sizes_by_class(ModelSettings(str(saved)))


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_headers_of_several_files_say_the_same(tmp_path, name):
    random_model(name).save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    assert by_headers(tmp_path) == sizes_by_class(ModelSettings(str(tmp_path)))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_head_counts_where_it_is_not_the_embedding(tmp_path, name, tied):
    random_model(name).save_pretrained(tmp_path)
    kind = headers._KINDS[json.loads((tmp_path / "config.json").read_text())["model_type"]]

    def with_a_head(tensors):
        (embedding,) = (value for key, value in tensors.items() if key.endswith(f"{kind.outside[0]}.weight"))
        return {**tensors, f"{kind.head}.weight": embedding.clone()}

    change_tensors(tmp_path, with_a_head)
    change_config(tmp_path, tie_word_embeddings=tied)
    assert by_headers(tmp_path) == sizes_by_class(ModelSettings(str(tmp_path)))


@pytest.mark.parametrize("saved", UNDERSTOOD, indirect=True)
def test_a_config_that_does_not_say_whether_the_head_is_tied_means_its_classs_default(saved):
    change_config(saved, tie_word_embeddings=...)
    assert by_headers(saved) == sizes_by_class(ModelSettings(str(saved)))


@pytest.mark.parametrize(
    ("saved", "stray"),
    [
        ("gpt_2", {"attn.bias": torch.ones(1, 1, 64, 64), "attn.masked_bias": torch.tensor(-1e4)}),
        ("gpt_neox", {"attention.bias": torch.ones(1, 1, 64, 64), "attention.rotary_emb.inv_freq": torch.ones(4)}),
        ("llama", {"self_attn.rotary_emb.inv_freq": torch.ones(6)}),
    ],
    indirect=["saved"],
)
def test_masks_and_frequencies_in_older_files_do_not_count(saved, stray):
    before = by_headers(saved)

    def with_stray(tensors):
        (layers,) = {name.split(".0.")[0] for name in tensors if ".0." in name}
        added = ((f"{layers}.{layer}.{name}", value) for layer in range(LAYERS) for name, value in stray.items())
        return tensors | {name: value.clone() for name, value in added}

    change_tensors(saved, with_stray)
    assert by_headers(saved) == before == sizes_by_class(ModelSettings(str(saved)))


@pytest.mark.parametrize("saved", ["gpt_2", "llama", "gpt_neox"], indirect=True)
def test_files_of_the_model_inside_leave_its_name_out(saved):
    before = by_headers(saved)
    inside = re.compile(r"(transformer|model|gpt_neox)\.")
    change_tensors(saved, lambda tensors: {inside.sub("", name, count=1): value for name, value in tensors.items()})
    assert by_headers(saved) == before


def test_kinds_are_those_of_transformers():
    for name, kind in headers._KINDS.items():
        assert kind.architecture == MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name]
        assert kind.tied == CONFIG_MAPPING[name]().tie_word_embeddings


NOT_UNDERSTOOD = {
    "a kind that is not known": lambda folder: change_config(folder, model_type="unheard_of"),
    "no kind": lambda folder: change_config(folder, model_type=...),
    "no number of positions": lambda folder: change_config(folder, max_position_embeddings=...),
    "another number of layers": lambda folder: change_config(folder, num_hidden_layers=LAYERS + 1),
    "another vocabulary": lambda folder: change_config(folder, vocab_size=65),
    "quantised": lambda folder: change_config(folder, quantization_config={"quant_method": "fp8"}),
    "a config that is none": lambda folder: (folder / "config.json").write_text("[]"),
    "a damaged config": lambda folder: (folder / "config.json").write_text("{"),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "a tensor more": lambda folder: change_tensors(folder, lambda held: held | {"score.weight": torch.ones(2, 2)}),
    "a tensor of another name": lambda folder: change_tensors(folder, lambda held: held | {"x.y": torch.ones(2)}),
    "a tensor less": lambda folder: change_tensors(
        folder, lambda held: {name: value for name, value in held.items() if "layers.1.mlp.up_proj" not in name}
    ),
    "no head": lambda folder: change_tensors(
        folder, lambda held: {name: value for name, value in held.items() if name != "lm_head.weight"}
    ),
    "a tensor twice": lambda folder: change_tensors(
        folder, lambda held: held | {"layers.0.mlp.up_proj.weight": held["model.layers.0.mlp.up_proj.weight"].clone()}
    ),
}


@pytest.mark.parametrize("change", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_what_is_not_understood_is_left_to_the_class(saved, change):
    change(saved)
    assert by_headers(saved) is None


def test_a_model_that_is_not_known_by_its_headers_is_described_by_its_class(tmp_path):
    random_model("gemma_3_multimodal").save_pretrained(tmp_path)
    assert by_headers(tmp_path) is None
    assert describe_model(ModelSettings(str(tmp_path))).architecture == "Gemma3ForConditionalGeneration"


def test_pickled_weights_are_described_by_the_class(tmp_path, monkeypatch):
    model = random_model("llama")
    model.save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    asked = []
    monkeypatch.setattr(by_class, "sizes_by_class", lambda settings: asked.append(settings) or sizes_by_class(settings))
    found = describe_model(ModelSettings(str(tmp_path)))
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert list(found.files) == ["pytorch_model.bin"]
    assert len(asked) == 1


def test_the_class_is_not_asked_about_what_the_headers_say(saved, monkeypatch):
    monkeypatch.setattr(description, "_sizes_by_class", None)
    assert describe_model(ModelSettings(str(saved))).architecture == "LlamaForCausalLM"


def test_an_architecture_that_is_not_supported_is_refused(tmp_path):
    config = FalconConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, alibi=False)
    FalconForCausalLM(config).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace('"falcon"', '"t5"'))
    with pytest.raises(UserError, match="cannot read the config of"):
        describe_model(ModelSettings(str(tmp_path)))


def test_a_file_that_is_none_is_said(saved):
    (saved / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged or no safetensors file .*large-file pointer"):
        describe_model(ModelSettings(str(saved)))


def test_other_weights_beside_those_that_are_loaded_do_not_count(saved):
    before = describe_model(ModelSettings(str(saved)))
    (saved / "consolidated.safetensors").write_bytes((saved / WEIGHTS).read_bytes())
    assert describe_model(ModelSettings(str(saved))) == before
