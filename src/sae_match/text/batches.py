"""From documents to token batches with a mask: what the model is evaluated on."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import lightning as L
import torch
from jaxtyping import Bool, Int
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.progress import counting
from sae_match.tensors import cpu_by_default
from sae_match.text.counting import CHARACTERS, naming, too_few
from sae_match.text.documents import Document, Part
from sae_match.text.drawing import in_seeded_order, works_of_part
from sae_match.text.packing import of_like_length, packed
from sae_match.text.settings import SourceSettings, TextSettings, refuse_impossible_text


class TokenBatch(NamedTuple):
    """Documents, or rows of packed documents, of one dataset, padded on the right.

    Attributes:
        dataset: Name of the dataset.
        input_ids: Token ids; the first of each row is BOS.
        attention_mask: True on tokens, false on padding.
        scored: True where an arm stands in for the residual and metrics look: neither BOS nor padding.
        documents: Number of each row in its dataset.
    """

    dataset: str
    input_ids: Int[Tensor, "batch seq"]
    attention_mask: Bool[Tensor, "batch seq"]
    scored: Bool[Tensor, "batch seq"]
    documents: tuple[int, ...]

    def to(self, device: torch.device) -> "TokenBatch":
        """The batch on another device."""
        return self._replace(
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            scored=self.scored.to(device),
        )


Drawn = tuple[list[TokenBatch], dict[str, set[str]]]
"""Batches, and the works of each dataset that they come from."""

_UNKNOWN = "take the model's own tokenizer, resize the model (resize_token_embeddings), or name another text.bos"


class TextData(L.LightningDataModule):
    """Streams the evaluation documents of every dataset, one dataset after another.

    Args:
        settings: Which text.
        tokenizer: The language model's.
        part: Part of the split that the documents are taken from.
        apart_from: Works of each dataset that no document may be taken from.

    Attributes:
        works: After `setup`, the works of each dataset that documents were taken from.
    """

    def __init__(
        self,
        settings: TextSettings,
        tokenizer: PreTrainedTokenizerBase,
        part: Part = "evaluation",
        apart_from: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        refuse_impossible_text(settings)
        self.settings, self.tokenizer, self.part, self.apart_from = settings, tokenizer, part, apart_from
        # What the first process draws all others are given, also those of other machines.
        self.prepare_data_per_node = False
        self.batches: list[TokenBatch] = []
        self.works: dict[str, set[str]] = {}

    @cpu_by_default()
    def prepare_data(self) -> None:
        """Read, draw and tokenise the documents; they are few, so this happens once, and in one process."""
        if self.batches:
            return
        for dataset, source in self.settings.datasets.items():
            skip = self.apart_from.get(dataset, ())
            rows, self.works[dataset] = draw_documents(dataset, source, self.settings, self.tokenizer, self.part, skip)
            for together in of_like_length(rows, self.settings.batch, self.settings.seed):
                batch = pad(dataset, [rows[row] for row in together], self.tokenizer, together)
                if self.settings.packing:
                    # A row begins with BOS and may hold others.
                    batch = batch._replace(scored=batch.scored & (batch.input_ids != rows[0][0]))
                self.batches.append(batch)

    def setup(self, stage: str) -> None:
        """Have the documents in every process."""
        if self.trainer is not None and self.trainer.world_size > 1:
            self.take_from_first(self.trainer.strategy.broadcast)
        else:
            self.prepare_data()

    def take_from_first(self, broadcast: Callable[[Drawn], Drawn]) -> None:
        """Have what the first process has drawn; `broadcast` gives every process what that one passes to it."""
        self.batches, works = broadcast((self.batches, self.works))
        self.works.update(works)

    def val_dataloader(self) -> DataLoader[TokenBatch]:
        """One batch an item, in a fixed order; of several processes each has its own share of the batches."""
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return loader_of(own_share(self.batches, rank, processes))

    def content_hash(self) -> str:
        """SHA-256 of the batches: equal texts, cut and batched alike, hash alike."""
        digest = hashlib.sha256()
        for batch in self.batches:
            digest.update(f"{batch.dataset} {tuple(batch.input_ids.shape)} {batch.documents}".encode())
            digest.update(batch.input_ids.numpy().tobytes() + batch.scored.numpy().tobytes())
        return digest.hexdigest()

    def refuse_tokens_beyond(self, rows: int) -> None:
        """Check that a model knows every token of the text; a tokenizer may have been given others.

        Args:
            rows: Of its embedding matrix.

        Raises:
            UserError: If it does not.
        """
        for batch in self.batches:
            largest = int(batch.input_ids[batch.attention_mask].max())
            if largest >= rows:
                raise UserError(
                    f"dataset {batch.dataset!r}: token {self.tokenizer.convert_ids_to_tokens(largest)!r} has the id "
                    f"{largest}, and the model's embedding matrix has {rows} rows; {_UNKNOWN}"
                )

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
    skip: Collection[str] = (),
) -> tuple[list[list[int]], set[str]]:
    """Token ids of `settings.documents` documents, BOS in front, or of as many packed rows, and their works.

    The documents of the part come in the order that follows from `settings.seed`; the first that have
    `min_tokens` are taken and cut at `max_tokens`. Nothing is read after the last of them. Works that are
    named in `skip` are passed over.

    Raises:
        UserError: If there are too few documents that are long enough, or the source cannot be read.
    """
    bos = bos_id(tokenizer, settings.bos)
    seen = 0
    works: set[str] = set()

    def long_enough() -> Iterator[list[int]]:
        nonlocal seen
        for document in in_seeded_order(source, part, settings.seed):
            seen += 1
            if document.group in skip:
                continue
            ids = token_ids(document, tokenizer, settings.max_tokens, bos)
            if len(ids) >= settings.min_tokens:
                works.add(document.group)
                yield ids

    drawn = packed(long_enough(), settings.max_tokens) if settings.packing else long_enough()
    rows: list[list[int]] = []
    # On standard error, as it may come before anything is printed; what lies on this machine is read in no time.
    with (
        naming(dataset),
        counting(Console(stderr=True) if source.kind == "hub" else None, f"reading {dataset}") as advance,
    ):
        for row in islice(drawn, settings.documents):
            rows.append(row)
            advance(len(rows), settings.documents)
    if len(rows) == settings.documents:
        return rows, works
    raise UserError(too_few(dataset, source, settings, part, len(rows), seen))


def bos_id(tokenizer: PreTrainedTokenizerBase, token: str | None = None) -> int:
    """Id of the token that every document begins with: the tokenizer's BOS, or `token` in its place.

    Raises:
        UserError: If the tokenizer has no BOS and none is given, or does not know the token.
    """
    if token is not None:
        vocabulary = tokenizer.get_vocab()
        if token not in vocabulary:
            raise UserError(f"text.bos: the tokenizer has no token {token!r}{_offer(tokenizer)}")
        return int(vocabulary[token])
    if tokenizer.bos_token_id is None:
        raise UserError(
            "the tokenizer has no BOS token, which every document begins with; "
            f"name a token to use in its place with text.bos{_offer(tokenizer)}"
        )
    return int(tokenizer.bos_token_id)


def token_ids(
    document: Document, tokenizer: PreTrainedTokenizerBase, max_tokens: int, bos: int | None = None
) -> list[int]:
    """Token ids of a document with BOS in front, whatever the tokenizer adds by itself.

    Args:
        document: The document.
        tokenizer: The language model's.
        max_tokens: Where the document is cut off, BOS included.
        bos: Id of the token in front; the tokenizer's BOS by default.
    """
    first = bos_id(tokenizer) if bos is None else bos
    start = document.text[: CHARACTERS * max_tokens]
    ids = tokenizer(start, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [first, *ids[: max_tokens - 1]]


def own_share(batches: Sequence[TokenBatch], rank: int, processes: int) -> list[TokenBatch]:
    """A process's share of batches that are dealt out in turn: as many for each, empty ones where they run out.

    A process without a batch would leave the others waiting for it at the end of a pass.
    """
    own = list(batches[rank::processes])
    return own + [nothing_of(batches[0])] * (-(-len(batches) // processes) - len(own))


def nothing_of(batch: TokenBatch) -> TokenBatch:
    """A batch without a document."""
    return batch._replace(
        input_ids=batch.input_ids[:0], attention_mask=batch.attention_mask[:0], scored=batch.scored[:0], documents=()
    )


def loader_of(batches: Sequence[TokenBatch]) -> DataLoader[TokenBatch]:
    """One batch an item, as it is, in order."""
    return DataLoader(cast("Dataset[TokenBatch]", batches), batch_size=None, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:
    return batch


def pad(
    dataset: str,
    rows: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    numbers: Sequence[int] | None = None,
) -> TokenBatch:
    """Rows of token ids, BOS in front, as one batch, padded on the right; with the rows' numbers, by default from 0."""
    length = max(len(row) for row in rows)
    # Nothing looks at what it is. A token that was added to the vocabulary may be none of the model's.
    own = tokenizer.pad_token_id is not None and tokenizer.pad_token_id < tokenizer.vocab_size
    fill = tokenizer.pad_token_id if own else rows[0][0]
    input_ids = torch.tensor([[*row, *[fill] * (length - len(row))] for row in rows])
    attention_mask = torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows])
    scored = attention_mask.clone()
    scored[:, 0] = False
    return TokenBatch(
        dataset, input_ids, attention_mask, scored, tuple(range(len(rows)) if numbers is None else numbers)
    )


def training_texts(datasets: Mapping[str, SourceSettings], part: Part) -> dict[str, list[str]]:
    """Whole works of a part, by dataset, all in memory: what trainings of the bundled model read."""
    return {name: [work.text for work in works_of_part(source, part)] for name, source in datasets.items()}


def _offer(tokenizer: PreTrainedTokenizerBase) -> str:
    end = tokenizer.eos_token
    return f", e.g. text.bos='{end}'" if end else ""
