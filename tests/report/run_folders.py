"""Folders as finished validations leave them, with results that one can do in one's head."""

import csv
import hashlib
from copy import deepcopy

import torch
from omegaconf import OmegaConf

from sae_match.bootstrap import ROWS
from sae_match.evaluation.arm_names import CLEAN
from sae_match.evaluation.statistics.replicates import FILE, Number, Replicates
from sae_match.evaluation.statistics.results import Results, save_spans
from tests.report.made_up import PAIRS, VALUES, results, spans

ARMS = tuple(VALUES)
NEIGHBOURS = PAIRS[:3]
CONFIG = {
    "model": {"source": "${bundled:model}", "revision": None, "dtype": "float32", "device_map": None},
    "sae": {"source": "${bundled:saes}", "layers": {"3": {"width": "1k", "l0": 6}, "4": {"width": "1k", "l0": 8}}},
    "matcher": {"fold": "threshold", "metric": "mse", "terms": {"W_enc": 1.0, "W_dec": 1.0}, "device": "auto"},
    "text": {"datasets": {"prose": {"kind": "sotu"}, "code": {"kind": "stdlib"}}, "seed": 0, "batch": 16},
    "evaluation": {"arms": ["matched"], "spans": [1], "seed": 0, "memory": None},
    "trainer": {"devices": 1, "precision": "32-true"},
    "logger": {"group": "${job:group}", "name": None},
    "output_dir": "${hydra:runtime.output_dir}",
    "check": False,
}
CHOICES = {"model": "bundled", "sae": "bundled", "matcher": "folded", "text": "bundled", "logger": "wandb"}
#: What a choice of the matcher stands for.
MATCHERS = {
    "folded": {},
    "unfolded": {"matcher.fold": "none"},
    "cosine": {"matcher.metric": "cosine"},
    "decoder_only": {"matcher.terms.W_enc": 0.0},
}


def run_folder(
    folder, matcher="folded", *, sweep=False, pairs=NEIGHBOURS, half_width=0.125, choices=(), arms=ARMS, **told
):
    """A finished run; `told` are overrides, with `__` for the dots."""
    overrides = {name.replace("__", "."): value for name, value in told.items()}
    if arms != ARMS:
        overrides["evaluation.arms"] = list(arms)
    config = OmegaConf.create(deepcopy(CONFIG))
    for name, value in {**MATCHERS[matcher], **overrides}.items():
        OmegaConf.update(config, name, value, force_add=True)
    hydra = {
        "mode": "MULTIRUN" if sweep else "RUN",
        "overrides": {"task": [f"matcher={matcher}", *(f"{name}={value}" for name, value in overrides.items())]},
        "runtime": {
            "choices": {**CHOICES, "matcher": matcher, **dict(choices), "hydra/launcher": "basic"},
            "output_dir": str(folder),
            "cwd": str(folder.parents[1]),
        },
        "sweep": {"subdir": "${hydra.job.num}"},
        "job": {"num": 0, "name": "validate"},
    }
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra}), folder / ".hydra" / "hydra.yaml")
    distances = sorted({target - source for source, target in pairs})
    found = [row for row in results(pairs, half_width) if row.arm in (CLEAN, *arms)]
    Results(found).save(folder / "results.csv")
    save_spans([row for row in spans(distances, half_width) if row.arm in arms], folder / "spans.csv")
    return folder


def keep_replicates(folder, more=0.0, own=0.0, text="a text", seed=0, pairs=NEIGHBOURS, arms=ARMS):
    """What a run keeps of its numbers: uncertain by 0.1, in the same way in all runs, and by `own` in its own way."""
    values = {}
    for row in results(pairs):
        if row.arm in arms:
            number = Number(row.source_layer, row.target_layer, row.arm, row.dataset, row.metric)
            apart = 0.1 * _noise(number) + own * _noise((folder.name, number))
            values[number] = row.value + more + torch.cat([torch.zeros(1, dtype=torch.float64), apart])
    datasets = ("prose", "code")
    Replicates(values, dict.fromkeys(datasets, 20), dict.fromkeys(datasets, text), seed).save(folder / FILE)
    return folder


def _noise(of):
    seed = int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:6], "big")
    return torch.randn(ROWS - 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def changed(run, arm, by):
    """A run whose means for an arm are others."""
    with (run / "spans.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    for row in rows[1:]:
        if row[1] == arm:
            row[4] = str(float(row[4]) + by)
    with (run / "spans.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
