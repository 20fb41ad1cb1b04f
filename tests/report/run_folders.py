"""Folders as finished validations leave them, with results that one can do in one's head."""

from copy import deepcopy

from omegaconf import OmegaConf

from sae_match.evaluation.arm_names import CLEAN
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
