"""How often features are active, and in how many documents: what a sample of them is drawn by."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sae_match.text.batches import TokenBatch


class LiveFeatures:
    """Counts tokens and documents in which each feature is active, while a survey shows them (`Observer`)."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], Tensor] = {}

    def start(self, features: Mapping[int, int], datasets: Sequence[str]) -> None:
        """Begin anew: with so many features in each layer, or end, and these datasets."""
        self._counts = {
            (end, dataset): torch.zeros(2, size, dtype=torch.float64)
            for end, size in sorted(features.items())
            for dataset in datasets
        }

    def add(self, layer: int, batch: TokenBatch, f: Float[Tensor, "tokens d_sae"]) -> None:
        """Look at the features of a layer, or end, on the scored tokens of a batch."""
        active = torch.zeros(len(batch.documents), f.shape[1], dtype=torch.float32, device=f.device)
        active.index_add_(0, batch.scored.nonzero()[:, 0], (f > 0).float())
        counts = torch.stack([active.sum(0, dtype=torch.float64), (active > 0).sum(0).double()])
        self._counts[layer, batch.dataset] += counts.cpu()

    def flat(self) -> Float64[Tensor, " entries"]:
        """All counts in one vector."""
        return torch.cat([counts.flatten() for counts in self._counts.values()])

    def fill(self, flats: Sequence[Tensor]) -> None:
        """Replace the counts by the sum of those of all processes."""
        total = torch.stack([flat.double().cpu() for flat in flats]).sum(0)
        parts = total.split([counts.numel() for counts in self._counts.values()])
        self._counts = {
            key: part.view_as(counts) for (key, counts), part in zip(self._counts.items(), parts, strict=True)
        }

    def tokens(self, end: int) -> Float64[Tensor, " d_sae"]:
        """Tokens of all datasets on which each feature of an end was active."""
        return torch.stack([counts[0] for (at, _), counts in self._counts.items() if at == end]).sum(0)

    def documents(self, end: int, dataset: str) -> Float64[Tensor, " d_sae"]:
        """Documents of a dataset in which each feature of an end was active."""
        return self._counts[end, dataset][1]
