"""Load two language models that read the same tokens."""

import json
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.model.fingerprint import fingerprint
from sae_match.model.loading import load_model, load_tokenizer
from sae_match.model.settings import ModelSettings
from sae_match.model.two.names import refuse_same_model, same_model
from sae_match.model.two.streams import Streams, TwoStreams
from sae_match.model.two.tokens import difference, refuse_difference, said

#: Where a user names the model that target SAEs read.
TARGET_SOURCE = "target_model.source"


def load_models(source: ModelSettings, target: ModelSettings | None = None) -> tuple[Streams, PreTrainedTokenizerBase]:
    """The model, or both, and the tokenizer, which is one.

    Args:
        source: The model; of two, that of the SAEs that pairs start from.
        target: That of the SAEs that they lead to, where it is another one.

    Raises:
        UserError: As `load_model`; and if the two are one model, or read other tokens, which is found out before
            weights are loaded.
    """
    if target is None:
        return load_model(source)
    refuse_same_model(source, target)
    tokenizers = load_tokenizer(source), load_tokenizer(target, TARGET_SOURCE)
    refuse_other_tokens(*tokenizers, (source.source, target.source))
    both = [load_model(settings)[0] for settings in (source, target)]
    if fingerprint(both[0]) == fingerprint(both[1]):
        raise UserError(same_model(source, target))
    return TwoStreams(*both), tokenizers[0]


def refuse_other_tokens(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, models: tuple[str, str]
) -> None:
    """Check that two models read the same ids: text is tokenised once, for both.

    Args:
        source: Tokenizer of the source's model.
        target: Of the target's.
        models: What the models are called.

    Raises:
        UserError: If they do not; says where the tokenizers differ.
    """
    found = difference(_told(source), _told(target))
    if found is None and source.bos_token != target.bos_token:
        # It stands before every document.
        found = f"BOS is {said(source.bos_token)} and {said(target.bos_token)}"
    refuse_difference(found, models)


def _told(tokenizer: PreTrainedTokenizerBase) -> Mapping[str, Any]:
    """What a loaded tokenizer's file would hold; of one that has no such file, its vocabulary and its kind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        told: dict[str, Any] = json.loads(backend.to_str())
        return told
    return {"model": {"vocab": tokenizer.get_vocab()}, "normalizer": type(tokenizer).__name__}
