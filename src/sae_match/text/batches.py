"""From documents to token batches with a mask: what the model is evaluated on."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import lightning as L
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.text.documents import Document, Part, cut_into_passages, in_part
from sae_match.text.sources import open_source


@dataclass
class SourceSettings:
    """Where the documents of a dataset come from.

    Attributes:
        kind: Name of a text source, one of `sae_match.text.sources.SOURCES`.
        path: Folder to read, for the sources that take one.
        passage: Works are cut at blank lines into documents of at least this many characters.
    """

    kind: str
    path: str | None = None
    passage: int = 1500


@dataclass
class TextSettings:
    """Which text is evaluated.

    Attributes:
        datasets: Source of each dataset, by the name that results carry.
        documents: Documents of each dataset, drawn with `seed` from those that are long enough.
        max_tokens: A document is cut off after this many tokens, BOS included.
        min_tokens: A document with fewer tokens, BOS included, is left out.
        batch: Documents in a batch.
        seed: Seed of the draw.
    """

    datasets: dict[str, SourceSettings] = field(default_factory=dict)
    documents: int = 64
    max_tokens: int = 256
    min_tokens: int = 64
    batch: int = 16
    seed: int = 0


class TokenBatch(NamedTuple):
    """Documents of one dataset, padded on the right.

    Attributes:
        dataset: Name of the dataset.
        input_ids: Token ids; the first of each row is BOS.
        attention_mask: True on tokens, false on padding.
        scored: True where an arm stands in for the residual and metrics look: neither BOS nor padding.
    """

    dataset: str
    input_ids: Int[Tensor, "batch seq"]
    attention_mask: Bool[Tensor, "batch seq"]
    scored: Bool[Tensor, "batch seq"]


class TextData(L.LightningDataModule):
    """Streams the evaluation documents of every dataset, one dataset after another.

    Args:
        settings: Which text.
        tokenizer: The language model's.
        part: Part of the split that the documents are taken from.
    """

    def __init__(self, settings: TextSettings, tokenizer: PreTrainedTokenizerBase, part: Part = "evaluation") -> None:
        super().__init__()
        if not settings.datasets:
            raise UserError("text.datasets is empty; name at least one dataset")
        for name, value in (("documents", settings.documents), ("batch", settings.batch)):
            if value < 1:
                raise UserError(f"text.{name} must be at least 1, got {value}")
        if not 3 <= settings.min_tokens <= settings.max_tokens:
            raise UserError(
                f"text.min_tokens must be at least 3 (BOS and two tokens) and at most text.max_tokens, "
                f"got {settings.min_tokens} and {settings.max_tokens}"
            )
        self.settings, self.tokenizer, self.part = settings, tokenizer, part
        self.batches: list[TokenBatch] = []

    def setup(self, stage: str) -> None:
        """Read, draw and tokenise the documents; they are few, so this happens once."""
        if self.batches:
            return
        for dataset, source in self.settings.datasets.items():
            rows = draw_documents(dataset, source, self.settings, self.tokenizer, self.part)
            for start in range(0, len(rows), self.settings.batch):
                self.batches.append(pad(dataset, rows[start : start + self.settings.batch], self.tokenizer))

    def val_dataloader(self) -> DataLoader[TokenBatch]:
        """One batch an item, in a fixed order."""
        return DataLoader(cast("Dataset[TokenBatch]", self.batches), batch_size=None)

    def tokens(self) -> dict[str, int]:
        """Scored tokens of each dataset."""
        counts = dict.fromkeys(self.settings.datasets, 0)
        for batch in self.batches:
            counts[batch.dataset] += int(batch.scored.sum())
        return counts


def draw_documents(
    dataset: str,
    source: SourceSettings,
    settings: TextSettings,
    tokenizer: PreTrainedTokenizerBase,
    part: Part,
) -> list[list[int]]:
    """Token ids of `settings.documents` documents, BOS in front.

    All documents of the part are shuffled by `settings.seed`; the first that have `min_tokens` are
    taken and cut at `max_tokens`.

    Raises:
        UserError: If there are too few documents that are long enough.
    """
    works = in_part(open_source(source.kind, source.path), part)
    documents = [passage for work in works for passage in cut_into_passages(work, source.passage)]
    random.Random(settings.seed).shuffle(documents)
    rows: list[list[int]] = []
    for document in documents:
        ids = token_ids(document, tokenizer, settings.max_tokens)
        if len(ids) >= settings.min_tokens:
            rows.append(ids)
        if len(rows) == settings.documents:
            return rows
    raise UserError(
        f"dataset {dataset!r}: {settings.documents} documents of at least {settings.min_tokens} tokens wanted, "
        f"{len(rows)} found; lower text.documents or text.min_tokens"
    )


def token_ids(document: Document, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[int]:
    """Token ids of a document with BOS in front, whatever the tokenizer adds by itself."""
    bos = tokenizer.bos_token_id
    if bos is None:
        raise UserError("the tokenizer has no BOS token, which every document begins with")
    # No token spans less than a character's share of bytes; a generous prefix bounds the work.
    ids = tokenizer(document.text[: 32 * max_tokens], add_special_tokens=False)["input_ids"]
    return [int(bos), *ids[: max_tokens - 1]]


def pad(dataset: str, rows: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase) -> TokenBatch:
    """Rows of token ids as one batch, padded on the right."""
    length = max(len(row) for row in rows)
    fill = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.bos_token_id
    input_ids = torch.tensor([[*row, *[fill] * (length - len(row))] for row in rows])
    attention_mask = torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows])
    scored = attention_mask.clone()
    scored[:, 0] = False
    return TokenBatch(dataset, input_ids, attention_mask, scored)


def training_texts(datasets: Mapping[str, SourceSettings], part: Part) -> dict[str, list[str]]:
    """Whole works of a part, by dataset: what trainings read."""
    return {
        name: [work.text for work in in_part(open_source(source.kind, source.path), part)]
        for name, source in datasets.items()
    }
