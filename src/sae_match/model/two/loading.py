"""Load two language models that read the same tokens."""

from transformers import PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.model.fingerprint import fingerprint
from sae_match.model.loading import load_model, load_tokenizer
from sae_match.model.settings import ModelSettings
from sae_match.model.two.names import refuse_same_model, same_model
from sae_match.model.two.streams import Streams, TwoStreams
from sae_match.model.two.tokens import refuse_other_tokens

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
