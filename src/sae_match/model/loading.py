"""Load a language model and its tokenizer from a folder or from the Hugging Face hub."""

from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.model.residual_stream import ResidualStream

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class ModelSettings:
    """Which language model.

    Attributes:
        source: Folder or hub repository.
        revision: Commit, tag or branch of the repository.
        dtype: `float32` or `bfloat16`; Gemma 2 overflows in float16.
        attention: Attention implementation; Gemma 2's soft cap asks for `eager`.
    """

    source: str
    revision: str | None = None
    dtype: str = "float32"
    attention: str = "eager"


def load_model(settings: ModelSettings) -> tuple[ResidualStream, PreTrainedTokenizerBase]:
    """The frozen model as a residual stream, and its tokenizer.

    Raises:
        UserError: If the model cannot be found or fetched, or its dtype is not one of `DTYPES`.
    """
    if settings.dtype not in DTYPES:
        raise UserError(f"model.dtype must be one of {', '.join(DTYPES)}, got {settings.dtype!r}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.source, revision=settings.revision)
        model = AutoModelForCausalLM.from_pretrained(
            settings.source,
            revision=settings.revision,
            dtype=DTYPES[settings.dtype],
            attn_implementation=settings.attention,
        )
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"cannot load the model {settings.source}: {reason} (a gated model needs its terms accepted on the hub "
            "and `hf auth login`)"
        ) from error
    return ResidualStream(model), tokenizer
