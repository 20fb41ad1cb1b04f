"""Mean residuals and mean errors over the evaluated text: what all sums are taken about."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sae_match.evaluation.measuring import BatchMeasurement, Subject
from sae_match.evaluation.plan import Pair, arms_of
from sae_match.evaluation.tally import ArmKey, LayerKey, Layout
from sae_match.text.batches import TokenBatch

_Key = LayerKey | ArmKey


class Means:
    """Sums of vectors, and how many they are of.

    Args:
        layout: What there is to have means of.
    """

    def __init__(self, layout: Layout) -> None:
        keys: list[_Key] = [*layout.layers(), *layout.runs()]
        self._sums = {key: torch.zeros(layout.d_in, dtype=torch.float64) for key in keys}
        self._counts = dict.fromkeys(layout.datasets, 0.0)

    def add(self, subject: Subject, batch: TokenBatch, groups: Sequence[Sequence[Pair]]) -> None:
        """Add a batch: its clean pass, and what every arm puts in place, but no pass of the model on that."""
        seen: set[int] = set()
        self._counts[batch.dataset] += float(batch.scored.sum())
        for pairs in groups:
            at = BatchMeasurement.captured(subject, batch, pairs)
            for position, pair in enumerate(pairs):
                for layer in set(pair) - seen:
                    self._add((layer, batch.dataset), at.features(layer).x)
                    seen.add(layer)
                for arm, error in at.errors(pair, arms_of(pair, subject.arms)):
                    self._add((pair, arm, batch.dataset), error)
                at.forget_all_but(pairs[position + 1 :])

    def flat(self) -> Float64[Tensor, " entries"]:
        """Counts and sums in one vector, in an order that follows from the layout."""
        return torch.cat([torch.tensor(list(self._counts.values()), dtype=torch.float64), *self._sums.values()])

    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Replace counts and sums by those that `flat` gave, added up over processes."""
        sizes = [len(total) for total in self._sums.values()]
        counts, sums = flat[: len(self._counts)], flat[len(self._counts) :].split(sizes)
        self._counts = dict(zip(self._counts, counts.tolist(), strict=True))
        self._sums = dict(zip(self._sums, sums, strict=True))

    def items(self) -> Iterator[tuple[_Key, Float64[Tensor, " d_in"]]]:
        """The mean of each; the origin where there is no vector."""
        return ((key, total / max(1.0, self._counts[key[-1]])) for key, total in self._sums.items())

    def _add(self, key: _Key, vectors: Float[Tensor, "tokens d_in"]) -> None:
        self._sums[key] += vectors.sum(0, dtype=torch.float64).cpu()


def means_of(
    subject: Subject,
    batches: Sequence[TokenBatch],
    groups: Sequence[Sequence[Pair]],
    layout: Layout,
    watch: Callable[[int, int], None],
) -> Means:
    """Means over batches that are on the model's device as they are taken.

    Args:
        subject: What will be measured.
        batches: The text, or a share of it.
        groups: Pairs whose residuals are held at one time.
        layout: What there is to have means of.
        watch: Told how many batches are done, and of how many.
    """
    means = Means(layout)
    device = subject.stream.model.get_input_embeddings().weight.device
    for number, batch in enumerate(batches):
        means.add(subject, batch.to(device), groups)
        watch(number + 1, len(batches))
    return means
