"""Sizes of a language model, and the small files that say them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from sae_match.bounds import MOST_SETTINGS, MOST_VOCABULARY, refuse_beyond
from sae_match.hub import hub_errors
from sae_match.model.settings import ModelSettings
from sae_match.saes.sites import Site

#: Positions whose logits exist at one time: few enough to stay in a processor's cache, more on a GPU.
LOGIT_BLOCK = {"cpu": 256}
LOGIT_BLOCK_ELSEWHERE = 2048
#: Queries that `speed.capped_attention` takes at one time: few, so that little is computed beyond the diagonal; more on
#: a GPU, which would spend its time on launching.
QUERIES = {"cpu": 64}
QUERIES_ELSEWHERE = 256
#: Names of attentions that hold scores, as `transformers` knows them: all at one time, or those of a block of queries.
EAGER, CAPPED = "eager", "capped"

# Files that are read whole when a model or its tokenizer is loaded; others that lie beside them are not.
_VOCABULARY = re.compile(r"tokenizer\.json|vocab\.(json|txt)|merges\.txt|.+\.model")
_SETTINGS = re.compile(
    r"((generation_|tokenizer_|preprocessor_|processor_)?config|special_tokens_map|added_tokens|.+\.index)\.json"
    r"|chat_template\.(json|jinja)"
)


@dataclass(frozen=True)
class ModelSizes:
    """What a language model consists of.

    Attributes:
        architecture: Name of its class.
        n_layers: Decoder layers.
        d_in: Width of the residual stream.
        vocabulary: Tokens that it tells apart.
        parameters: All parameters.
        parameters_per_layer: Parameters of one decoder layer.
        positions: Tokens of the longest text that it is made for; none where its config does not say.
        widths: Entries of each site's value, of the sites that its layers have.
        heads: Attention heads of a layer.
        inner: Rows or columns of the largest matrix of a layer: in nearly all models, the width inside its MLP.
    """

    architecture: str
    n_layers: int
    d_in: int
    vocabulary: int
    parameters: int
    parameters_per_layer: int
    positions: int | None
    widths: dict[Site, int]
    heads: int
    inner: int


def small_file(settings: ModelSettings, name: str) -> Path | None:
    """A small file beside a model's weights, fetched if need be; none where there is none.

    Raises:
        UserError: If the hub cannot be reached or refuses.
    """
    folder = Path(settings.location)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    with hub_errors(settings.source):
        try:
            return Path(hf_hub_download(settings.source, name, revision=settings.revision))
        except EntryNotFoundError:
            return None


def refuse_large_files(folder: Path) -> None:
    """Check that no file that describes a model, or its tokenizer, is larger than those of any real one.

    Args:
        folder: Of the model; one that is not there holds none.

    Raises:
        UserError: If one is.
    """
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir()):
        if file.is_file():
            refuse_large_file(file)


def refuse_large_file(file: Path) -> None:
    """Check the same of one file.

    Raises:
        UserError: If it is larger.
    """
    size = file.stat().st_size
    if _VOCABULARY.fullmatch(file.name):
        refuse_beyond(MOST_VOCABULARY, size, file, "a vocabulary")
    elif _SETTINGS.fullmatch(file.name):
        refuse_beyond(MOST_SETTINGS, size, file, "a file of settings")


def queries_held(attention: str, tokens: int, device: str) -> int:
    """Queries whose scores, one for every key, attention holds at one time; none with what libraries have fused.

    Args:
        attention: Name of the implementation.
        tokens: Of a text.
        device: Type of the device.
    """
    block = QUERIES.get(device, QUERIES_ELSEWHERE)
    return {EAGER: tokens, CAPPED: min(tokens, block)}.get(attention, 0)


def settings_in(file: Path | None) -> dict[str, Any]:
    """What a JSON file says; nothing where there is none, or it cannot be read: whoever needs it says so.

    Raises:
        UserError: If it is larger than any real one.
    """
    try:
        if file is not None:
            refuse_large_file(file)
        content = {} if file is None else json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
