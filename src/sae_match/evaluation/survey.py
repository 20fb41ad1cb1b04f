"""The first pass over the evaluated text: means of residuals and features, and whatever else looks at features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sae_match.evaluation.arm_names import LINEAR_MAP_SAE
from sae_match.evaluation.arms import stand_in
from sae_match.evaluation.measuring import BatchMeasurement, Features, Subject
from sae_match.evaluation.plan import Pair, arms_of
from sae_match.evaluation.statistics.tally import ArmKey, LayerKey, Layout
from sae_match.text.batches import TokenBatch

# What this arm puts in place is no affine function of the source layer's features and residuals: the mean of what
# it gives is not what it gives for the mean.
_BENT = (LINEAR_MAP_SAE,)

_Name = tuple[Any, ...]


@runtime_checkable
class Observer(Protocol):
    """Sees every layer's features on every batch once, before anything is measured."""

    def start(self, features: Mapping[int, int], datasets: Sequence[str]) -> None:
        """Begin anew: with so many features in each layer, and these datasets."""

    def add(self, layer: int, batch: TokenBatch, f: Float[Tensor, "tokens d_sae"]) -> None:
        """Look at a layer's features on the scored tokens of a batch."""

    def flat(self) -> Tensor:
        """All that was seen, in one vector whose length follows from the layout."""

    def fill(self, flats: Sequence[Tensor]) -> None:
        """Replace what was seen by what all processes saw."""


class Survey:
    """Sums of residuals and features by layer and dataset, and of what they cannot tell.

    Args:
        layout: What there is to have means of.
    """

    def __init__(self, layout: Layout) -> None:
        self._sums: dict[_Name, Tensor] = {("tokens", dataset): _zeros(1) for dataset in layout.datasets}
        for key in layout.layers():
            self._sums["x", *key], self._sums["f", *key] = _zeros(layout.d_in), _zeros(layout.features[key[0]])
        self._sums.update({("error", *run): _zeros(layout.d_in) for run in layout.runs() if run[1] in _BENT})

    def add(
        self,
        subject: Subject,
        batch: TokenBatch,
        groups: Sequence[Sequence[Pair]],
        observers: Sequence[Observer] = (),
    ) -> None:
        """Add a batch: one clean pass a group of pairs."""
        seen: set[int] = set()
        self._sums["tokens", batch.dataset] += float(batch.scored.sum())
        for pairs in groups:
            at = BatchMeasurement.captured(subject, batch, pairs)
            for position, pair in enumerate(pairs):
                for layer in set(pair) - seen:
                    self._add_layer(layer, batch, at.features(layer))
                    for observer in observers:
                        observer.add(layer, batch, at.features(layer).f)
                seen |= set(pair)
                bent = [arm for arm in arms_of(pair, subject.arms) if arm in _BENT]
                for arm, error in at.errors(pair, bent):
                    self._sums["error", pair, arm, batch.dataset] += _sum(error)
                at.forget_all_but(pairs[position + 1 :])

    def mean_features(self, key: LayerKey) -> Float64[Tensor, " d_sae"]:
        """Mean value of each feature of a layer over all tokens of a dataset."""
        return self._mean("f", *key)

    def references(self, subject: Subject, layout: Layout) -> Iterator[tuple[LayerKey | ArmKey, Tensor]]:
        """The mean residual of each layer and the mean error of each arm; the origin where there is no token."""
        for key in layout.layers():
            yield key, self._mean("x", *key)
        for run in layout.runs():
            yield run, self._mean_error(subject, run)

    def flat(self) -> Float64[Tensor, " entries"]:
        """All sums in one vector, in an order that follows from the layout."""
        return torch.cat(list(self._sums.values()))

    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Replace all sums by those that `flat` gave, added up over processes."""
        parts = flat.split([len(total) for total in self._sums.values()])
        self._sums = dict(zip(self._sums, parts, strict=True))

    def _add_layer(self, layer: int, batch: TokenBatch, found: Features) -> None:
        self._sums["x", layer, batch.dataset] += _sum(found.x)
        self._sums["f", layer, batch.dataset] += _sum(found.f)

    def _mean(self, *name: Any) -> Tensor:
        return self._sums[name] / max(1.0, float(self._sums["tokens", name[-1]]))

    def _mean_error(self, subject: Subject, run: ArmKey) -> Tensor:
        """An affine arm gives for the means what it gives in the mean."""
        pair, arm, dataset = run
        if arm in _BENT:
            return self._mean("error", *run)
        like = subject.open_sae(pair[1]).W_dec
        (x_source, x_target), (f_source, f_target) = (
            [self._mean(kind, layer, dataset).to(like)[None] for layer in pair] for kind in ("x", "f")
        )
        return (stand_in(arm, subject.stage(pair, x_source, f_source, f_target)) - x_target)[0]


def surveyed(
    subject: Subject,
    batches: Sequence[TokenBatch],
    groups: Sequence[Sequence[Pair]],
    layout: Layout,
    observers: Sequence[Observer],
    watch: Callable[[int, int], None],
) -> Survey:
    """Survey of batches that are on the model's device as they are taken.

    Args:
        subject: What will be measured.
        batches: The text, or a share of it.
        groups: Pairs whose residuals are held at one time.
        layout: What there is to have means of.
        observers: Shown every layer's features.
        watch: Told how many batches are done, and of how many.
    """
    survey = Survey(layout)
    for observer in observers:
        observer.start({layer: layout.features[layer] for layer, _ in layout.layers()}, layout.datasets)
    device = subject.stream.model.get_input_embeddings().weight.device
    for number, batch in enumerate(batches):
        survey.add(subject, batch.to(device), groups, observers)
        watch(number + 1, len(batches))
    return survey


def _zeros(size: int) -> Float64[Tensor, " size"]:
    return torch.zeros(size, dtype=torch.float64)


def _sum(vectors: Float[Tensor, "tokens d"]) -> Float64[Tensor, " d"]:
    return vectors.sum(0, dtype=torch.float64).cpu()
