"""A hub on this machine that describes the paper's model and holds nothing, and what is asked of it."""

import json
from typing import ClassVar
from urllib.parse import unquote

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from sae_match import bundled
from sae_match.evaluation.arm_names import ARMS
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.model.settings import ModelSettings
from sae_match.text.settings import SourceSettings, TextSettings
from tests.serving import Answering

SAE_BYTES = 302_131_416
EVERYTHING, MATCHED_ALONE = EvaluationSettings(list(ARMS)), EvaluationSettings(["matched"])
SHARD = 5_000_000_000
COMMIT = "b" * 40
GEMMA = Gemma2Config(
    architectures=["Gemma2ForCausalLM"],
    vocab_size=256_000,
    hidden_size=2304,
    intermediate_size=9216,
    num_hidden_layers=26,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
)
DATASETS = {
    "Skylion007/openwebtext": "plain_text/train/0000.parquet",
    "loubnabnl/github-small-near-dedup": "data/train-00000-of-00339.parquet",
    "Salesforce/wikitext": "wikitext-103-raw-v1/train-00000-of-00002.parquet",
}
TEXT = TextSettings({"code": SourceSettings("stdlib")}, documents=2, max_tokens=60, min_tokens=32, batch=2)
MODEL = ModelSettings(bundled.path("model"))
SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


def headers_of_shards():
    """What stands at the beginning of each weight file of the paper's model."""
    with torch.device("meta"):
        parameters = list(Gemma2ForCausalLM(GEMMA).named_parameters())
    half = len(parameters) // 2
    for part in (parameters[:half], parameters[half:]):
        said = {name: {"dtype": "BF16", "shape": list(one.shape), "data_offsets": [0, 0]} for name, one in part}
        header = json.dumps(said).encode()
        yield len(header).to_bytes(8, "little") + header


class Hub(Answering):
    """Metadata of the paper's model, SAEs and text; one L0 of layer 3 is missing."""

    downloaded: ClassVar[list[str]] = []
    beginnings: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str]]] = []

    def do_HEAD(self):
        path = unquote(self.path.split("?")[0])
        if path.endswith("config.json") and "gemma-2-2b" in path:
            self.answer(200, GEMMA.to_json_string().encode())
        elif path.endswith("params.npz") and "average_l0_59" not in path:
            self.downloaded += [path] if self.command == "GET" else []
            self.answer(200, b"", size=SAE_BYTES)
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def do_GET(self):
        path = unquote(self.path.split("?")[0])
        dataset = next((name for name in DATASETS if path.startswith(f"/api/datasets/{name}")), None)
        if path.startswith("/api/models/google/gemma-2-2b"):
            files = [{"rfilename": name, "size": SHARD} for name in SHARDS]
            self.answer(200, json.dumps({"id": "google/gemma-2-2b", "sha": COMMIT, "siblings": files}).encode())
        elif dataset is not None:
            files = [{"rfilename": DATASETS[dataset], "size": 10**9}]
            self.answer(200, json.dumps({"id": dataset, "sha": COMMIT, "siblings": files}).encode())
        elif path.rpartition("/")[2] in SHARDS:
            self.asked.append((path.rpartition("/")[2], self.headers["Range"]))
            self.answer(206, self.beginnings[path.rpartition("/")[2]])
        elif path.endswith("/tree/main/layer_3/width_16k"):
            folder = path.split("/main/")[1]
            entries = [{"type": "directory", "oid": "0", "path": f"{folder}/average_l0_{l0}"} for l0 in (14, 28, 142)]
            self.answer(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
        else:
            self.do_HEAD()

    def answer(self, status, body, headers=None, size=None):
        super().answer(status, body, {"X-Repo-Commit": COMMIT, "ETag": '"e"', **(headers or {})}, size)
