"""What a question that is asked from Python needs: a model, SAEs and text, opened and checked against each other."""

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sae_match import bundled
from sae_match.errors import UserError, reason_of, shown
from sae_match.matching.matching import device_named
from sae_match.model.fit import refuse_layers_beyond, refuse_other_width
from sae_match.model.loading import load_model
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.settings import ModelSettings
from sae_match.saes.sae import SAE
from sae_match.saes.sites import checked_site
from sae_match.semantics.features.asking import MAX_TOKENS
from sae_match.text.batches import TokenBatch, bos_id, pad, token_ids
from sae_match.text.documents import Document
from sae_match.text.drawing import in_seeded_order
from sae_match.text.files import ENDINGS, format_of
from sae_match.text.packing import of_like_length
from sae_match.text.settings import SourceSettings

_BUNDLED = "bundled"
#: The dataset of texts that are given.
TEXT = "text"


@dataclass(frozen=True)
class Reading:
    """How text is read; see `features`."""

    site: str
    documents: int
    max_tokens: int | None
    bos: str | None
    contexts: int
    sample: int
    seed: int
    batch: int
    device: str

    def __post_init__(self) -> None:
        least = {"documents": 1, "max_tokens": 2, "contexts": 1, "sample": 1, "batch": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UserError(f"{name} must be at least {smallest}, got {shown(value)}")


@dataclass(frozen=True, eq=False)
class Opened:
    """What is read, and by what.

    Attributes:
        stream, tokenizer: The language model.
        saes: By layer, where the model is.
        batches: The text, on the host.
    """

    stream: ResidualStream
    tokenizer: PreTrainedTokenizerBase
    saes: Mapping[int, SAE]
    batches: Sequence[TokenBatch]

    @property
    def device(self) -> torch.device:
        """Where the model reads its tokens."""
        return device_of(self.stream)

    def sae(self, layer: int) -> SAE:
        """The SAE of a layer."""
        return self.saes[layer]


def opened(
    model: object, tokenizer: object, saes: Mapping[int, object], text: Iterable[str] | str | Path, how: Reading
) -> Opened:
    """Open what a question is asked of.

    Args:
        model: Its name, or a model; see `features`.
        tokenizer: Of a model that is given.
        saes: By layer.
        text: Texts in a list; or a file or a folder of them.
        how: Text is read.

    Raises:
        UserError: If model, text or SAEs cannot be had or do not fit each other.
    """
    site = checked_site(how.site)
    by_layer = saes_by_layer(saes)
    # Before anything is loaded.
    texts = _texts(text, how)
    stream, words = _model(model, tokenizer, how.device)
    refuse_layers_beyond(stream, by_layer)
    for layer, sae in by_layer.items():
        refuse_other_width(stream, site, layer, sae.d_in)
    batches = list(_batches(texts, words, stream, how))
    return Opened(stream, words, {layer: sae.to(device_of(stream)) for layer, sae in by_layer.items()}, batches)


def device_of(stream: ResidualStream) -> torch.device:
    """Where a model reads its tokens."""
    device: torch.device = stream.model.get_input_embeddings().weight.device
    return device


def saes_by_layer(saes: Mapping[int, object]) -> dict[int, SAE]:
    """The SAE of each layer.

    Raises:
        UserError: If what is given is none.
    """
    found = {layer: sae for layer, sae in saes.items() if isinstance(sae, SAE)}
    if not saes or len(found) != len(saes):
        raise UserError("SAEs are given by layer, as {3: load_sae(…), 4: load_sae(…)}")
    return found


def _model(model: object, tokenizer: object, device: str) -> tuple[ResidualStream, PreTrainedTokenizerBase]:
    """A model by its name, or as it is given; see `features`."""
    if isinstance(model, str | Path):
        source = bundled.path("model") if model == _BUNDLED else str(model)
        stream, own = load_model(ModelSettings(source))
        return stream.to(device_named(device)), own
    if not isinstance(model, ResidualStream | PreTrainedModel):
        named = "a folder, a repository, a causal language model of transformers or a ResidualStream"
        raise UserError(f"a model is {named}, got {type(model).__name__}")
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise UserError("a model that is given takes its tokenizer as well: tokenizer=…")
    return (model if isinstance(model, ResidualStream) else ResidualStream(model)), tokenizer


def _texts(text: Iterable[str] | str | Path, how: Reading) -> list[str]:
    """Texts in their order, or those that are drawn from a file or folder."""
    if isinstance(text, str | Path):
        return list(islice(_drawn(_there(text), how.seed), how.documents))
    # Once, as what gives them may give them once.
    texts = list(text)
    if bad := [one for one in texts if not isinstance(one, str)]:
        raise UserError(f"texts are strings in a list, got {shown(bad[0])} among them")
    return texts


def _there(named: str | Path) -> Path:
    """The file or folder of that name."""
    try:
        path = Path(named).expanduser()
        there = path.exists()
    except RuntimeError:
        # Begins with `~`, and nobody is called so.
        there = False
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise UserError(f"{shown(str(named))} cannot be read: {reason_of(error)}") from error
        there = False
    if not there:
        raise UserError(f"there is no file or folder {shown(str(named))}; texts themselves come in a list")
    return path


def _drawn(path: Path, seed: int) -> Iterator[str]:
    kind = format_of(path.name) if path.is_file() else _kind_in(path)
    source = SourceSettings(kind=kind or "text", path=str(path), whole=True)
    return (document.text for document in in_seeded_order(source, "evaluation", seed))


def _kind_in(folder: Path) -> str:
    """The format that most files below a folder have."""
    endings = {kind: tuple(ends) for kind, ends in ENDINGS.items()}
    names = [file.name.lower() for file in folder.rglob("*") if file.is_file()]
    return max(endings, key=lambda kind: sum(name.endswith(endings[kind]) for name in names))


def _batches(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, stream: ResidualStream, how: Reading
) -> Iterator[TokenBatch]:
    """Texts as tokens; a document is called by its number among them."""
    if how.bos is None and tokenizer.bos_token_id is None:
        raise UserError("the tokenizer has no BOS token, which each text begins with; name one to use: bos='…'")
    positions = getattr(stream.model.config.get_text_config(), "max_position_embeddings", None)
    most = how.max_tokens or min(MAX_TOKENS, positions or MAX_TOKENS)
    if positions is not None and most > positions:
        raise UserError(f"max_tokens={most} is more than the model's {positions} positions")
    first = bos_id(tokenizer, how.bos)
    rows = [token_ids(Document("", "", text), tokenizer, most, first) for text in texts]
    said = [number for number, row in enumerate(rows) if len(row) > 1]
    if not said:
        raise UserError("there is no text to read: no document has a token")
    for together in of_like_length([rows[number] for number in said], how.batch, how.seed):
        numbers = [said[one] for one in together]
        yield pad(TEXT, [rows[number] for number in numbers], tokenizer, numbers)
