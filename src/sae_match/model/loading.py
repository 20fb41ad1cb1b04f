"""Load a language model and its tokenizer from a folder or from the Hugging Face hub."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.model.residual_stream import ResidualStream

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Token ids that every vocabulary has; few, because all that is asked is whether two ways agree.
_PROBE = ((0, 1, 2, 3, 4),)


@dataclass
class ModelSettings:
    """Which language model.

    Attributes:
        source: Folder or hub repository.
        revision: Commit, tag or branch of the repository.
        dtype: `float32` or `bfloat16`; float16 overflows in the residual streams of today's models.
        attention: Attention implementation, such as `eager` or `sdpa`; the model's own choice if none is
            given. Gemma 2's soft cap asks for `eager`.
        device_map: `auto` spreads a model that does not fit one device over all there are, and over main
            memory; by default it goes where the trainer is.
    """

    source: str
    revision: str | None = None
    dtype: str = "float32"
    attention: str | None = None
    device_map: str | None = None


def load_model(settings: ModelSettings) -> tuple[ResidualStream, PreTrainedTokenizerBase]:
    """The frozen model as a residual stream, and its tokenizer.

    Raises:
        UserError: If the model cannot be found or fetched, its dtype is not one of `DTYPES`, or it is
            built in a way that resuming it from a layer would not be exact.
    """
    if settings.dtype not in DTYPES:
        raise UserError(f"model.dtype must be one of {', '.join(DTYPES)}, got {settings.dtype!r}")
    tokenizer = load_tokenizer(settings)
    options: dict[str, Any] = {"dtype": DTYPES[settings.dtype]}
    if settings.attention is not None:
        options["attn_implementation"] = settings.attention
    if settings.device_map is not None:
        options["device_map"] = settings.device_map
    try:
        model = AutoModelForCausalLM.from_pretrained(settings.source, revision=settings.revision, **options)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(_why_not(settings, error)) from error
    stream = ResidualStream(model)
    refuse_inexact(stream, settings.source)
    return stream, tokenizer


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises:
        UserError: If it cannot be found or fetched.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(settings.source, revision=settings.revision)
    except (OSError, ValueError) as error:
        raise UserError(_why_not(settings, error)) from error
    return tokenizer


@torch.no_grad()
def refuse_inexact(stream: ResidualStream, name: str) -> None:
    """See on a few tokens that the model, laid open, does exactly what it does by itself.

    Raises:
        UserError: If it does not.
    """
    device = stream.model.get_input_embeddings().weight.device
    tokens = torch.tensor(_PROBE, device=device)
    expected = stream.model(input_ids=tokens, use_cache=False).logits
    clean = stream.capture(tokens)
    resumed = stream.logits(stream.resume(clean, 0, clean.residuals[0]))
    if not torch.equal(resumed.to(expected.device), expected):
        off = float((resumed.to(expected.device) - expected).abs().max())
        raise UserError(
            f"{name} ({type(stream.model).__name__}) cannot be resumed from a layer: its logits come out different "
            f"by up to {off:.3g}; this architecture is not supported"
        )


def _why_not(settings: ModelSettings, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    gated = " (a gated model needs its terms accepted on the hub and `hf auth login`)"
    return f"cannot load the model {settings.source}: {reason}{gated if isinstance(error, OSError) else ''}"
