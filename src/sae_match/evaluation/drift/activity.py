"""On how many tokens of each document each feature is active: what rates and their intervals are made of."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sae_match.text.batches import TokenBatch


class DocumentActivity:
    """Counts active tokens by document and feature, of every layer or end, while a survey shows them (`Observer`).

    Args:
        batches: The evaluated text, all of it.
    """

    def __init__(self, batches: Sequence[TokenBatch]) -> None:
        names = dict.fromkeys(batch.dataset for batch in batches)
        #: Numbers of the documents of each dataset.
        self.documents = {
            name: sorted(one for batch in batches if batch.dataset == name for one in batch.documents) for name in names
        }
        self._row = {
            key: row
            for row, key in enumerate((name, one) for name, numbers in self.documents.items() for one in numbers)
        }
        self._tokens = torch.zeros(len(self._row), dtype=torch.float64)
        self._counts: dict[int, Tensor] = {}

    def start(self, features: Mapping[int, int], _datasets: Sequence[str]) -> None:
        """Begin anew: with so many features in each layer, or end."""
        self._tokens = torch.zeros(len(self._row), dtype=torch.float64)
        # Whole numbers below 2^24 are exact.
        self._counts = {
            end: torch.zeros(len(self._row), size, dtype=torch.float32) for end, size in sorted(features.items())
        }

    def add(self, layer: int, batch: TokenBatch, f: Float[Tensor, "tokens d_sae"]) -> None:
        """Look at the features of a layer, or end, on the scored tokens of a batch."""
        rows = torch.tensor([self._row[batch.dataset, one] for one in batch.documents])
        of_token = batch.scored.nonzero()[:, 0]
        active = torch.zeros(len(rows), f.shape[1], dtype=torch.float32, device=f.device)
        active.index_add_(0, of_token, (f > 0).float())
        self._counts[layer][rows] = active.cpu()
        self._tokens[rows] = batch.scored.sum(1).double().cpu()

    def flat(self) -> Float64[Tensor, " entries"]:
        """All counts in one vector."""
        return torch.cat([self._tokens, *(one.flatten().double() for one in self._counts.values())])

    def fill(self, flats: Sequence[Tensor]) -> None:
        """Replace the counts by those of all processes, each of which has other documents."""
        total = torch.stack([flat.double().cpu() for flat in flats]).sum(0)
        sizes = [one.numel() for one in self._counts.values()]
        self._tokens, *parts = total.split([len(self._tokens), *sizes])
        self._counts = {
            end: part.view_as(one).float() for (end, one), part in zip(self._counts.items(), parts, strict=True)
        }

    def counts(self, end: int, dataset: str) -> Float64[Tensor, "documents features"]:
        """Active tokens of each document of a dataset."""
        return self._counts[end][self._of(dataset)].double()

    def tokens(self, dataset: str) -> Float64[Tensor, " documents"]:
        """Tokens of each document of a dataset."""
        return self._tokens[self._of(dataset)]

    def _of(self, dataset: str) -> list[int]:
        return [self._row[dataset, one] for one in self.documents[dataset]]
