"""The memory that a validation's plan states, beside what is measured: random models of several shapes."""

from collections.abc import Mapping, Sequence
from functools import partial

import lightning as L
import torch

from sae_match.benchmark.measuring import (
    HELD_ONLY,
    Case,
    Figure,
    forget_peak,
    in_own_process,
    peak_resident_gigabytes,
    resident_gigabytes,
)
from sae_match.benchmark.random_models.made_up import Scale, made_up
from sae_match.evaluation.arm_names import ARMS, LAYER_DROP, MATCHED
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.solver.planning import GIGABYTE

# Plan and measurement may be apart by so much of the measurement.
_APART = 0.15
_GEMMA = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
_BUNDLED = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_hidden_layers": 8,
    "vocab_size": 4096,
}
_LARGE = {**_GEMMA, "num_hidden_layers": 6, "vocab_size": 256_000}
_WIDE = {**_GEMMA, "num_hidden_layers": 6, "vocab_size": 8192}
_FEW = [MATCHED, LAYER_DROP]

#: The smallest that there is anything to measure of.
TINY = Scale({**_BUNDLED, "num_hidden_layers": 2}, range(2), 64, 4, 2, 32, 2, "float32")
#: Name, model, arms and the rest of a shape.
SHAPES: Mapping[str, tuple[Scale, Sequence[str]]] = {
    "the bundled model's shape, every arm": (Scale(_BUNDLED, range(4, 8), 1024, 5, 16, 128, 16, "float32"), ARMS),
    "vocabulary of 256,000, few arms": (Scale(_LARGE, range(3, 6), 4096, 40, 4, 96, 4, "float32"), _FEW),
    "vocabulary of 256,000, every arm": (Scale(_LARGE, range(4, 6), 4096, 40, 4, 96, 4, "float32"), ARMS),
    "wide SAEs, long documents, few arms": (Scale(_WIDE, range(4, 6), 8192, 70, 4, 512, 4, "float32"), _FEW),
}


def cases(seed: int) -> dict[str, Case]:
    """The case by name.

    Args:
        seed: Of all that is drawn.
    """
    return {"memory": partial(memory, SHAPES, seed)}


def memory(shapes: Mapping[str, tuple[Scale, Sequence[str]]], seed: int) -> list[Figure]:
    """Plan and measurement of each shape, each in a process of its own."""
    found = []
    for name, (scale, arms) in shapes.items():
        found += in_own_process(partial(planned_and_measured, name, scale, arms, seed), HELD_ONLY)
    return found


def planned_and_measured(name: str, scale: Scale, arms: Sequence[str], seed: int) -> list[Figure]:
    """What a validation's plan states, and the most that is resident while text streams by, less what was before.

    What was before is Python and the libraries, with all that they load, compile and keep: a validation of a tiny model
    has had them do so.
    """
    _validated(TINY, _FEW, seed)
    before = resident_gigabytes()
    module, peak = _validated(scale, arms, seed)
    planned, measured = module.memory.total / GIGABYTE, peak - before
    what = f"memory of the plan, {planned:.3g} GB, and measured, {measured:.3g} GB: apart by"
    print({k: (round(v / 2**20, 1) if isinstance(v, int) else v) for k, v in vars(module.memory).items()}, flush=True)
    return [Figure(name, what, abs(planned - measured) / measured, "of it", _APART)]


def _validated(scale: Scale, arms: Sequence[str], seed: int) -> tuple[MatchValidation, float]:
    """A validation, and the most that was resident while text streamed by, in gigabytes."""
    peak = _Peak()
    module, _ = made_up(scale, torch.device("cpu"), seed, EvaluationSettings(arms=list(arms)), peak)
    return module, peak.gigabytes


class _Peak(L.Callback):
    """The most that is resident while text streams by."""

    gigabytes = 0.0

    def on_validation_start(self, *_: object) -> None:
        """What was held before, while layers were matched, does not count."""
        forget_peak()

    def on_validation_end(self, *_: object) -> None:
        """Note it."""
        self.gigabytes = peak_resident_gigabytes()
