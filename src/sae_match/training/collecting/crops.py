"""Random crops of a tokenised corpus: what the trainings in this room read."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerBase

from sae_match.errors import UserError


def tokenise(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Int[Tensor, " tokens"]:
    """All texts one after another as one row of token ids, without special tokens."""
    encoded = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return torch.cat([torch.tensor(ids, dtype=torch.int64) for ids in encoded])


class RandomCrops(IterableDataset[Int[Tensor, "batch context"]]):
    """Batches of crops at random places, each with BOS in front, drawn evenly from the corpora.

    Args:
        corpora: Token ids by dataset, each `[tokens]`; every batch takes the same share of each.
        context: Length of a crop, BOS included.
        batch: Crops in a batch.
        steps: Number of batches.
        bos: Token id of BOS.
        seed: Every pass over this data set draws the same crops.
    """

    def __init__(
        self,
        corpora: Mapping[str, Int[Tensor, " tokens"]],
        *,
        context: int,
        batch: int,
        steps: int,
        bos: int,
        seed: int,
    ) -> None:
        super().__init__()
        for name, corpus in corpora.items():
            if len(corpus) < context:
                raise UserError(f"dataset {name!r} has {len(corpus)} tokens, fewer than one crop of {context}")
        if batch % len(corpora):
            raise UserError(f"a batch of {batch} crops cannot be shared evenly by {len(corpora)} datasets")
        self.corpora, self.context, self.batch, self.steps = dict(corpora), context, batch, steps
        self.bos, self.seed = bos, seed

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Int[Tensor, "batch context"]]:
        generator = torch.Generator().manual_seed(self.seed)
        share = self.batch // len(self.corpora)
        offsets = torch.arange(self.context - 1)
        for _ in range(self.steps):
            crops = []
            for corpus in self.corpora.values():
                starts = torch.randint(len(corpus) - self.context + 2, (share,), generator=generator)
                crops.append(corpus[starts[:, None] + offsets])
            body = torch.cat(crops)
            yield torch.cat([torch.full((self.batch, 1), self.bos), body], dim=1)
