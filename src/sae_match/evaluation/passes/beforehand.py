"""The memory that a validation would take, by what is known before anything is loaded."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from sae_match.evaluation.passes.load import Load
from sae_match.evaluation.passes.memory import SHARE_OF_RESIDUALS, MemoryPlan
from sae_match.evaluation.plan import grouped
from sae_match.evaluation.statistics.layout import Layout
from sae_match.matching.solver.planning import GIGABYTE, free_memory
from sae_match.model.description import ModelDescription
from sae_match.model.sizes import CAPPED
from sae_match.text.settings import TextSettings

# Models that cap the scores of their attention, and the attention that most others take by themselves.
_CAPS, _FUSED = ("Gemma2ForCausalLM", "VaultGemmaForCausalLM"), "sdpa"


def load_beforehand(
    model: ModelDescription,
    attention: str | None,
    layout: Layout,
    arms: Sequence[str],
    text: TextSettings,
    source: ModelDescription | None = None,
) -> Load:
    """What memory follows from, in one process, if all documents are as long as they may be.

    Args:
        model: The language model.
        attention: Its attention, if one was asked for.
        layout: What is measured.
        arms: Arms, without those that are another one by another name.
        text: The text.
        source: The source's language model, where that is another one.
    """
    rows, own = min(text.batch, text.documents), CAPPED if model.architecture in _CAPS else _FUSED
    return Load(
        model,
        model.bytes_per_parameter,
        attention or own,
        layout,
        arms,
        [layout.pairs],
        rows,
        text.max_tokens,
        rows * (text.max_tokens - 1),
        len(layout.pairs),
        beside=0 if source is None else source.parameters * source.bytes_per_parameter,
    )


def memory_beforehand(load: Load, given: float | None, device: torch.device) -> MemoryPlan:
    """What is held at most, with the model on the device.

    Args:
        load: What it follows from.
        given: Gigabytes for SAEs and residuals, if any are given; by default what is free.
        device: Where it would be run.
    """
    free = max(0.0, float(free_memory(device) - load.model.parameters * load.itemsize - load.beside))
    budget = free if given is None else given * GIGABYTE
    groups = grouped(load.layout.pairs, load.residual_bytes(), SHARE_OF_RESIDUALS * budget, load.layout.held)
    load = replace(load, groups=groups)
    return MemoryPlan.of(load, load.blocks(device, free), budget, device)
