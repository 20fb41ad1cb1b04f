"""Load a language model and its tokenizer from a folder or from the Hugging Face hub."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.hub import hub_errors
from sae_match.model.description import refuse_beyond
from sae_match.model.exactness import refuse_inexact
from sae_match.model.gguf.file import GGUFFile, is_gguf, reading_once
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import DTYPE_NAMES, ModelSettings, refuse_unknown_dtype
from sae_match.model.sizes import refuse_large_files
from sae_match.model.speed.hastening import hasten
from sae_match.network import environment_trouble

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}
#: Where a user names the language model.
SOURCE = "model.source"
# What libraries raise over files that they cannot fetch, read or make sense of.
_SENSELESS = (IndexError, TypeError, AttributeError)
_OF_FILES = (OSError, ValueError, ImportError, RuntimeError, KeyError, SafetensorError, UnpicklingError, *_SENSELESS)


def load_model(settings: ModelSettings) -> tuple[ResidualStream, PreTrainedTokenizerBase]:
    """The frozen model as a residual stream, and its tokenizer.

    Raises:
        UserError: If the model cannot be found or fetched, its dtype is not one of `DTYPES`, or it is
            built in a way that resuming it from a layer would not be exact.
    """
    refuse_unknown_dtype(settings.dtype)
    with reading_once() if is_gguf(settings) else nullcontext():
        tokenizer = load_tokenizer(settings)
        model = load_weights(settings)
    stream = ResidualStream(model)
    hasten(stream, settings.source, attention=settings.attention is None)
    refuse_inexact(stream, settings.source)
    return stream, tokenizer


def load_tokenizer(settings: ModelSettings, setting: str = SOURCE) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Args:
        settings: Of the model.
        setting: Where the user has named it.

    Raises:
        UserError: If it cannot be found or fetched.
    """
    place, named = _place(settings, setting)
    with model_errors(settings.source, setting):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, **named)
    if not tokenizer("a b", add_special_tokens=False)["input_ids"]:
        raise UserError(
            f"{settings.source} ({setting}) has no tokenizer: it makes no tokens of a text; save the model's beside it"
        )
    return tokenizer


def load_weights(settings: ModelSettings, setting: str = SOURCE) -> PreTrainedModel:
    """The model as `transformers` has it, neither frozen nor looked at.

    Args:
        settings: Of the model.
        setting: Where the user has named it.

    Raises:
        UserError: If it cannot be found or fetched, or its files lack weights.
    """
    place, named = _place(settings, setting)
    options: dict[str, Any] = {**named, "dtype": DTYPES[settings.dtype]}
    if settings.attention is not None:
        options["attn_implementation"] = settings.attention
    if settings.device_map is not None:
        options["device_map"] = settings.device_map
    if "gguf_file" in named and hasattr(transformers, "GgufConfig"):
        # All of it as ordinary weights, as older versions do by themselves: packed ones need a GPU's kernels.
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with model_errors(settings.source, setting):
        loaded: Any = AutoModelForCausalLM.from_pretrained(place, output_loading_info=True, **options)
    model: PreTrainedModel = loaded[0]
    report = loaded[1]
    if absent := sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])}):
        raise UserError(
            f"the files of {settings.source} lack {len(absent)} of the model's weights, {absent[0]} among them; "
            "fetch the model again"
        )
    return model


def _place(settings: ModelSettings, setting: str = SOURCE) -> tuple[str, dict[str, Any]]:
    """Folder or repository of a model, and what is to be named in it."""
    if (file := GGUFFile.of(settings)) is not None:
        file.header()
        fetched = file.fetched()
        return str(fetched.parent), {"gguf_file": fetched.name}
    if settings.location.startswith((".", "/")) and not Path(settings.location).is_dir():
        raise UserError(f"there is no folder {settings.source} ({setting})")
    refuse_large_files(Path(settings.location))
    return settings.location, {"revision": settings.revision}


def refuse_longer_text(stream: ResidualStream, tokens: int) -> None:
    """Check that documents are not longer than what the model was made for.

    Raises:
        UserError: If they may be.
    """
    refuse_beyond(getattr(stream.model.config.get_text_config(), "max_position_embeddings", None), tokens)


@contextmanager
def model_errors(source: str, setting: str = SOURCE) -> Iterator[None]:
    """Turn what goes wrong when files of a model are fetched and read into a `UserError`.

    Args:
        source: Folder or hub repository.
        setting: Where the user has named it.
    """
    named = f"{source} ({setting})"
    try:
        yield
    except Exception as error:
        # The library `tokenizers` raises `Exception` itself over a damaged file, and no narrower clause names that.
        # Errors of any other kind pass.
        if not isinstance(error, _OF_FILES) and type(error) is not Exception:
            raise
        if (answer := _answer_of_the_hub(error)) is not None:
            with hub_errors(named):
                raise answer from error
        if not Path(source).expanduser().exists() and (trouble := environment_trouble()) is not None:
            raise UserError(trouble) from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if isinstance(error, _SENSELESS):
            reason = f"its files make no sense ({reason}); fetch it again"
        raise UserError(f"cannot load the model {named}: {reason}") from error


def _answer_of_the_hub(error: BaseException) -> Exception | None:
    """What the hub, or the way to it, said, among the causes of an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HfHubHTTPError | LocalEntryNotFoundError | OfflineModeIsEnabled):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
