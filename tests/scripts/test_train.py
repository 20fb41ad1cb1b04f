"""Training as a user runs it."""

import json
import signal
import time

import pytest
import torch
from transformers import (
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from sae_match import bundled
from sae_match.evaluation.statistics.results import Results
from sae_match.saes.manifest import read_folder
from sae_match.text.documents import in_part
from sae_match.text.settings import SourceSettings
from sae_match.text.sources import open_source
from tests.scripts.as_a_user import FAST, PLAIN, assert_refused, run, start

# Steps of a moment on a random model, with a buffer that is filled several times.
SAES = (
    "training=saes_16k",
    "training.d_sae=64",
    "training.l0=[6]",
    "training.steps=20",
    "training.batch=128",
    "training.context=64",
    "training.crops=8",
    "training.learning_rate=1e-2",
    "training.checkpoint_every=4",
    "training.buffer=1e-4",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
)
SIZES = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
    "intermediate_size": 48,
}
GROUPED = SIZES | {"num_key_value_heads": 1, "head_dim": 16}
SPECIAL = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED, **SPECIAL)),
    "gemma_3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**GROUPED, **SPECIAL, sliding_window=16)),
    "gpt_2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=4096, n_embd=32, n_layer=3, n_head=2, n_positions=128, **SPECIAL)
    ),
}


def save_model(name, folder):
    torch.manual_seed(0)
    MODELS[name]().save_pretrained(folder)
    AutoTokenizer.from_pretrained(bundled.path("model")).save_pretrained(folder)


def save_text(file, documents=300):
    """Pieces of the standard library, a row each."""
    works = in_part(open_source(SourceSettings("stdlib")), "training")
    pieces = [work.text[:1000] for work in works if len(work.text) > 1000]
    file.write_text("".join(json.dumps({"text": piece}) + "\n" for piece in pieces[:documents]))


@pytest.fixture
def own(tmp_path):
    """Overrides for a random Llama and text of one's own; paths are relative to `tmp_path`."""
    save_model("llama", tmp_path / "model")
    save_text(tmp_path / "text.jsonl")
    return own_text()


def own_text(model="model"):
    text = ("text=files", "text.datasets.files.kind=jsonl", "text.datasets.files.path=text.jsonl")
    return ("model=local", f"model.source={model}", *text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["llama", *(pytest.param(name, marks=pytest.mark.thorough) for name in MODELS if name != "llama")]
)
def test_from_a_folder_with_a_model_to_a_validated_matching(tmp_path, name):
    save_model(name, tmp_path / "model")
    save_text(tmp_path / "text.jsonl")
    trained = ("sae=folder", "sae.source=saes", f"cache_dir={tmp_path}/cache")
    done = run(
        "train.py",
        *SAES,
        *own_text(),
        "training.layers=[0,1]",
        "destination=saes",
        "hydra.run.dir=train",
        folder=tmp_path,
    )
    assert "python scripts/validate.py sae=folder sae.source=saes model=local model.source=model" in done.stdout
    assert "768 activations of each layer, filled 4 times" in done.stdout
    assert len(list((tmp_path / "train").glob("wandb/offline-run-*"))) == 1
    for layer, which in read_folder(tmp_path / "saes")[1].items():
        path = f"layer_{layer}/width_{which['width']}/average_l0_{which['l0']}/params.npz"
        assert (tmp_path / "saes" / path).is_file()
        assert (tmp_path / "saes" / "sae_lens" / f"layer_{layer}" / "cfg.json").is_file()
    run("match.py", *trained, "hydra.run.dir=match", folder=tmp_path)
    assert (tmp_path / "match" / "matchings" / "L00-L01.safetensors").is_file()
    run(
        "validate.py",
        *trained,
        *FAST,
        PLAIN,
        *own_text(),
        "text.datasets.files.passage=0",
        "logger=none",
        "hydra.run.dir=validate",
        folder=tmp_path,
    )
    results = Results.load(tmp_path / "validate" / "results.csv")
    assert results.distinct("source_layer") == [0]
    at = {"source_layer": 0, "dataset": "files", "metric": "explained_variance"}
    assert results.value(**at, arm="reconstruct_target") > results.value(**at, arm="random")


@pytest.mark.thorough
def test_a_killed_run_goes_on_with_the_same_command_and_ends_the_same(tmp_path, own):
    command = (*SAES, *own, "training.steps=400", "logger=none", "training.layers=[1]")
    run("train.py", *command, "destination=undisturbed", folder=tmp_path)
    checkpoint = tmp_path / "killed" / "training.ckpt"
    with start("train.py", *command, "destination=killed", folder=tmp_path) as killed:
        deadline = time.monotonic() + 60
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not list((tmp_path / "killed").rglob("params.npz"))
    done = run("train.py", *command, "destination=killed", folder=tmp_path)
    assert "goes on     from killed/training.ckpt" in done.stdout
    (first,) = (tmp_path / "undisturbed").rglob("params.npz")
    (second,) = (tmp_path / "killed").rglob("params.npz")
    assert first.read_bytes() == second.read_bytes()
    assert not checkpoint.exists()


@pytest.mark.slow
def test_both_trainings_of_the_bundled_model_run(tmp_path):
    common = ("trainer.accelerator=cpu", "trainer.progress=false", "logger=none")
    tiny = (
        "training.steps=2",
        "training.batch=4",
        "training.context=32",
        "training.vocabulary=300",
        "training.layers=2",
    )
    run(
        "train.py", "training=language_model", "destination=model", "model.source=none", *tiny, *common, folder=tmp_path
    )
    saes = (
        "training.steps=3",
        "training.tokens=100",
        "training.context=32",
        "training.l0=[8]",
        "training.d_sae=64",
        "training.batch=64",
    )
    run("train.py", "training=saes", "destination=saes", "model.source=model", *saes, *common, folder=tmp_path)
    assert len(list((tmp_path / "saes").rglob("params.npz"))) == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.steps=0"], "error: training.steps must be positive, got 0"),
        (["training.layers=[99]"], "error: training.layers must lie in 0 … 7, got [99]"),
        (["training.d_sae=0"], "error: training.d_sae must be positive, got 0"),
        (["training.l0=[1,2]"], "error: training.l0 needs one entry"),
        (["training.layers=[1]", "training.l0=[0]"], "error: training.l0 must lie between 0 and d_sae"),
        (["training.buffer=1e-6"], "error: training.buffer=1e-06 gigabytes holds 0 activations of each layer"),
        (["destination=/dev/null/there"], "error: cannot write the destination /dev/null/there"),
        (["text.bos=nothing"], "error: text.bos: the tokenizer has no token 'nothing'"),
        (["trainer.devices=2", "trainer.accelerator=cpu"], "error: SAEs are trained on one device, got 2"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_it_starts(tmp_path, overrides, message):
    common = ("destination=there", "logger=none", "trainer.progress=false", "hydra.run.dir=out")
    done = run("train.py", "training=saes", *common, *overrides, folder=tmp_path, check=False)
    assert_refused(done, message)
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["provenance.json", "training.json", "layer_3/notes.txt", "sae_lens/mine.txt"])
def test_a_destination_with_something_of_the_users_is_left_as_it_is(tmp_path, own, name):
    theirs = tmp_path / "saes" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"made": "by hand"}')
    done = run("train.py", *SAES, *own, "destination=saes", "logger=none", folder=tmp_path, check=False)
    assert_refused(done, f"saes{'/' if name == 'training.json' else ' holds '}{name.split('/')[0]}")
    assert theirs.read_text() == '{"made": "by hand"}'
    # Not even where the run's own folder is the same, and is marked as one.
    done = run(
        "train.py", *SAES, *own, "destination=saes", "hydra.run.dir=saes", "logger=none", folder=tmp_path, check=False
    )
    assert_refused(done, name.split("/")[0])
    assert theirs.read_text() == '{"made": "by hand"}'


def test_a_language_model_is_not_written_over_another(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_text("theirs")
    told = ("training=language_model", "model.source=none", "destination=model", "logger=none")
    done = run("train.py", *told, folder=tmp_path, check=False)
    assert_refused(done, "model holds model.safetensors, which no run of this program has left")
    assert_refused(done, "destination=DIR")
    assert (tmp_path / "model" / "model.safetensors").read_text() == "theirs"
