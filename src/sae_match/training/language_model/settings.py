"""Shape and training of the bundled language model, as settings."""

from dataclasses import dataclass
from typing import ClassVar

from sae_match.training.sae_settings import refuse_not_positive


@dataclass
class LanguageModelSettings:
    """Shape of the bundled Gemma 2 and how it is trained.

    Attributes:
        vocabulary: Entries of the byte-level BPE tokenizer.
        layers, width, heads, kv_heads, head_width, mlp_width, sliding_window: Shape of the model.
        context: Tokens in a training crop, BOS included.
        batch: Crops in an optimiser step.
        steps: Optimiser steps.
        learning_rate: Peak of the schedule (linear warm-up, then a cosine to a twentieth of it).
        warmup: Optimiser steps of the warm-up.
        weight_decay: AdamW's, on matrices only.
        compile: Whether `torch.compile` is applied.
        seed: Seed of initialisation and crops.
        start_from: Folder or hub repository of a model that training goes on from, with its tokenizer and its shape,
            instead of from scratch; the settings of the shape then say nothing.
    """

    #: What it writes to its destination, as patterns.
    leaves: ClassVar[tuple[str, ...]] = (
        "config.json",
        "generation_config.json",
        "*.safetensors",
        "*.safetensors.index.json",
        "tokenizer*",
        "special_tokens_map.json",
        "chat_template*",
    )
    files: ClassVar[tuple[str, ...]] = leaves

    vocabulary: int = 4096
    layers: int = 8
    width: int = 128
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 32
    mlp_width: int = 384
    sliding_window: int = 128
    context: int = 256
    batch: int = 64
    steps: int = 2000
    learning_rate: float = 3e-3
    warmup: int = 200
    weight_decay: float = 0.1
    compile: bool = False
    seed: int = 0
    start_from: str | None = None

    def __post_init__(self) -> None:
        refuse_not_positive(self, "layers", "batch", "steps", "learning_rate", "context", "vocabulary")
