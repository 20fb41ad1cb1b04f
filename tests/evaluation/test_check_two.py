"""What a validation of two collections would need: by the bundled files, and by a hub that holds metadata only."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.gemma3 import Gemma3Config

from sae_match import bundled
from sae_match.evaluation.check import check
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.matching.settings import MatcherSettings
from sae_match.model.settings import ModelSettings
from sae_match.saes.two import TwoCollections
from tests.conftest import ROOT
from tests.evaluation.hubs import COMMIT, EVERYTHING, MODEL, SHARD, SHARDS, TEXT, Hub, headers_of_shards
from tests.evaluation.validating import collection_of, saved, seeds
from tests.serving import serving

GEMMA_3 = Gemma3Config(
    architectures=["Gemma3ForConditionalGeneration"],
    text_config={
        "hidden_size": 2560,
        "num_hidden_layers": 34,
        "intermediate_size": 10240,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262_208,
    },
)
WIDE = 262_144
SAE_BYTES = 4 * (WIDE * (2 * 2560 + 2) + 2560)


def test_the_plan_of_two_collections_is_that_of_their_pairs():
    found = check(MODEL, TwoCollections(*seeds()), MatcherSettings(), TEXT, EVERYTHING)
    rows = dict(found.rows)
    assert found.missing == []
    assert ": 4 SAEs, " in rows["SAEs"]
    # All but the four that say what lies in between, on each of two layers.
    assert rows["pairs"] == "2, 24 arms of them in all"
    # Layers 0 to 4 for the means; then 8, and those behind each target for each arm.
    assert rows["passes"] == f"{5 + 8 + 12 * (4 + 3)} layer-forwards and {1 + 24} heads for each token"


def test_only_saes_that_are_in_a_pair_are_looked_at():
    both = TwoCollections(collection_of(0, 1, 3, 4), seeds()[1])
    found = check(MODEL, both, MatcherSettings(), TEXT, EvaluationSettings(["matched"], pairs=[[1, 3]]))
    assert ": 2 SAEs, " in dict(found.rows)["SAEs"]
    assert dict(found.rows)["pairs"] == "1, 1 arm of them in all"


@pytest.mark.parametrize(
    ("layers", "settings", "line"),
    [
        ((0, 1), {}, "pairs: no layer has an SAE in both collections (layers 0, 1 in"),
        ((3, 4), {"pairs": [[3, 5]]}, "pairs: target: no SAE for layer 5 in"),
        ((3, 4), {"pairs": [[4, 3]]}, "pairs: a pair goes from a layer to the same layer or a later one"),
        ((3, 4), {"spans": [2]}, "pairs: evaluation.spans are distances in one collection"),
        ((3, 4), {"arms": ["layer_drop"]}, "plan: arms layer_drop say nothing of two collections"),
    ],
)
def test_what_stands_in_the_way_has_its_line(layers, settings, line):
    both = TwoCollections(collection_of(*layers), seeds()[1])
    found = check(MODEL, both, MatcherSettings(), TEXT, EvaluationSettings(**{"arms": ["matched"], **settings}))
    assert any(entry.startswith(line) for entry in found.missing), found.missing


def test_an_sae_of_another_models_width_is_named_with_its_collection(tmp_path, make_sae):
    both = TwoCollections(collection_of(3), saved({3: make_sae(0, d_in=64, d_sae=8)}, tmp_path / "other"))
    found = check(MODEL, both, MatcherSettings(), TEXT, EvaluationSettings(["matched"]))
    assert found.missing == ["SAE of layer 3@other reads width 64, the model's residual has 128"]


def test_a_layer_that_the_model_does_not_have_is_named(tmp_path, make_sae):
    saes = {9: make_sae(0, d_in=128)}
    both = TwoCollections(saved(saes, tmp_path / "a"), saved({9: make_sae(1, d_in=128)}, tmp_path / "b"))
    found = check(MODEL, both, MatcherSettings(), TEXT, EvaluationSettings(["matched"]))
    assert "layers [9]: the model has layers 0 to 7" in found.missing


def test_the_plan_of_two_models_counts_both():
    saes = {"arms": ["matched", "layer_drop", "matched_mapped"], "rotations": 0}
    tuned = ModelSettings(bundled.path("model_code"))
    both = TwoCollections(*seeds(), ("model", "model_code"))
    found = check(MODEL, both, MatcherSettings(), TEXT, EvaluationSettings(**saes), tuned)
    alone = check(
        MODEL, TwoCollections(*seeds()), MatcherSettings(), TEXT, EvaluationSettings(["matched"], rotations=0)
    )
    assert found.missing == []
    rows = dict(found.rows)
    assert "model_code" in rows["target model"]
    assert rows["pairs"] == "2, 6 arms of them in all"
    # Both models are held, which are of one size.
    assert found.memory.model == 2 * alone.memory.model


def test_a_model_is_not_its_own_target():
    both = TwoCollections(*seeds(), ("model", "model"))
    found = check(MODEL, both, MatcherSettings(), TEXT, EvaluationSettings(["matched"]), MODEL)
    assert any(line.startswith("target model: ") for line in found.missing), found.missing


class Gemma3Hub(Hub):
    """Metadata of Gemma 3 4B, of two seeds of Gemma Scope 2, and of the paper's text."""

    def do_HEAD(self):
        path = unquote(self.path.split("?")[0])
        if "gemma-3-4b" in path and path.endswith("/config.json"):
            self.answer(200, GEMMA_3.to_json_string().encode())
        elif "gemma-scope-2-4b" in path and path.endswith("config.json"):
            layer = path.split("layer_")[1].split("_")[0]
            point = f"model.layers.{layer}.output"
            said = {"architecture": "jump_relu", "type": "sae", "width": WIDE, "l0": 60, "affine_connection": False}
            body = json.dumps({**said, "hf_hook_point_in": point, "hf_hook_point_out": point}).encode()
            # Files of one tag are one file to the hub's client.
            self.answer(200, body, {"ETag": f'"{layer}"'})
        elif "gemma-scope-2-4b" in path and path.endswith("params.safetensors"):
            self.downloaded += [path] if self.command == "GET" else []
            self.answer(200, b"", size=SAE_BYTES)
        else:
            super().do_HEAD()

    def do_GET(self):
        if unquote(self.path.split("?")[0]).startswith("/api/models/google/gemma-3-4b"):
            files = [{"rfilename": name, "size": SHARD} for name in SHARDS]
            self.answer(200, json.dumps({"id": "google/gemma-3-4b-pt", "sha": COMMIT, "siblings": files}).encode())
        else:
            super().do_GET()


def beginnings():
    with torch.device("meta"):
        parameters = list(AutoModelForCausalLM.from_config(GEMMA_3).named_parameters())
    half = len(parameters) // 2
    for part in (parameters[:half], parameters[half:]):
        said = {name: {"dtype": "BF16", "shape": list(one.shape), "data_offsets": [0, 0]} for name, one in part}
        header = json.dumps(said).encode()
        yield len(header).to_bytes(8, "little") + header


def asked_of(hub: type[Hub], folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "validate.py"), *overrides, "check=true"]
    with serving(hub) as endpoint:
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hub"), "COLUMNS": "240"}
        return subprocess.run(
            [*command, f"hydra.run.dir={folder / 'run'}"],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )


def test_two_seeds_of_gemma_scope_2_pass_the_check(tmp_path):
    Gemma3Hub.beginnings = dict(zip(SHARDS, beginnings(), strict=True))
    Gemma3Hub.downloaded = []
    # Which machine has that much is not asked here.
    done = asked_of(Gemma3Hub, tmp_path, "experiment=seeds_gemma_3_4b", "matcher.memory=64")
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "everything is there" in done.stdout
    assert f"8 SAEs, {8 * SAE_BYTES / 2**30:.3g} GB" in lines["SAEs"]
    assert lines["pairs"].endswith(" 4, 44 arms of them in all")
    assert Gemma3Hub.downloaded == []


def test_two_widths_of_gemma_scope_are_looked_up_each_in_its_own_collection(tmp_path):
    class Widths(Hub):
        downloaded, asked = [], []

    done = asked_of(Widths, tmp_path, "experiment=widths_gemma_2_2b")
    assert "2 SAEs" in done.stdout, (done.stdout, done.stderr)
    assert "pairs" in done.stdout
    assert "missing" not in done.stdout


def test_relations_over_all_layers_of_gemma_are_looked_up(tmp_path):
    class Layers(Hub):
        downloaded, asked, beginnings = [], [], dict(zip(SHARDS, headers_of_shards(), strict=True))

    done = asked_of(Layers, tmp_path, "experiment=relations_gemma_2_2b")
    # One layer's SAE is missing, and with it two of 25 pairs.
    assert "23, 46 arms of them in all" in done.stdout, (done.stdout, done.stderr)
    assert Layers.downloaded == []


def test_gemma_before_and_after_tuning_passes_the_check(tmp_path):
    Gemma3Hub.beginnings = dict(zip(SHARDS, beginnings(), strict=True))
    Gemma3Hub.downloaded = []
    done = asked_of(Gemma3Hub, tmp_path, "experiment=finetuned_gemma_3_4b", "matcher.memory=64")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "google/gemma-3-4b-it (Gemma3" in done.stdout
    assert "8 SAEs" in done.stdout
    assert "everything is there" in done.stdout
    assert Gemma3Hub.downloaded == []


def test_what_switching_features_of_gemma_off_takes_is_said(tmp_path):
    class Layers(Hub):
        downloaded, asked, beginnings = [], [], dict(zip(SHARDS, headers_of_shards(), strict=True))

    done = asked_of(Layers, tmp_path, "experiment=causal_gemma_2_2b")
    assert "100 features of each pair of layers, each in 4 documents of each dataset: at most" in done.stdout.replace(
        "\n", ""
    ), (done.stdout, done.stderr)
    assert Layers.downloaded == []
