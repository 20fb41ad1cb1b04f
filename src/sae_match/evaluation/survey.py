"""The first pass over the evaluated text: means of residuals and features, and whatever else looks at features."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from sae_match.evaluation.arm_names import LAYER_DROP, LINEAR_MAP_SAE
from sae_match.evaluation.arms import stand_in
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.passes.subject import Subject
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.relations.collecting import RelativesCollector
from sae_match.evaluation.statistics.forms import Landmarks, is_by_dimension, scale_of
from sae_match.evaluation.statistics.layout import ArmKey, LayerKey, Layout
from sae_match.evaluation.statistics.norms import EXTREME, SKETCH_BINS, median_of, norms_of, sketch
from sae_match.evaluation.statistics.streaming import CPU
from sae_match.evaluation.transport import ActiveValues
from sae_match.text.batches import TokenBatch

# What this arm puts in place is no affine function of the source layer's features and residuals: the mean of what
# it gives is not what it gives for the mean.
_BENT = (LINEAR_MAP_SAE,)

# Tokens of each document, at most, that say about where errors behind a norm are: no affine function of anything tells.
_SAMPLED = 16

_Name = tuple[Any, ...]


@runtime_checkable
class Observer(Protocol):
    """Sees every layer's features on every batch once, before anything is measured."""

    def start(self, features: Mapping[int, int], datasets: Sequence[str]) -> None:
        """Begin anew: with so many features in each layer, or end, and these datasets."""

    def add(self, layer: int, batch: TokenBatch, f: Float[Tensor, "tokens d_sae"]) -> None:
        """Look at the features of a layer, or end, on the scored tokens of a batch."""

    def flat(self) -> Tensor:
        """All that was seen, in one vector whose length follows from the layout."""

    def fill(self, flats: Sequence[Tensor]) -> None:
        """Replace what was seen by what all processes saw."""


class Survey:
    """Sums of residuals and features by layer and dataset, and of what they cannot tell.

    Args:
        layout: What there is to have means of.
        device: Where sums are; those of the batches, to which they are added without a copy to the host.
    """

    def __init__(self, layout: Layout, device: torch.device = CPU) -> None:
        self._device, _zeros = device, partial(torch.zeros, dtype=torch.float64, device=device)
        self._sums: dict[_Name, Tensor] = {("tokens", dataset): _zeros(1) for dataset in layout.datasets}
        for key in layout.layers():
            width = layout.width(key[0])
            self._sums["x", *key], self._sums["f", *key] = _zeros(width), _zeros(layout.features[key[0]])
        self._sums.update({("error", *run): _zeros(layout.d_in) for run in layout.runs() if run[1] in _BENT})
        self._sees_norms = bool(layout.forms)
        self._reads = not all(map(is_by_dimension, layout.forms))
        for key in layout.layers() if self._sees_norms else ():
            self._sums["squares", *key], self._sums["norms", *key] = _zeros(layout.width(key[0])), _zeros(SKETCH_BINS)
        if self._reads:
            self._sums.update({("sampled", dataset): _zeros(1) for dataset in layout.datasets})
            self._sums.update({("read", *key): _zeros(layout.width(key[0])) for key in layout.layers()})
            runs = (run for run in layout.runs() if run[1] not in layout.twins)
            self._sums.update({("read", *run): _zeros(layout.d_in) for run in runs})

    def add(
        self,
        subject: Subject,
        batch: TokenBatch,
        groups: Sequence[Sequence[Pair]],
        observers: Sequence[Observer] = (),
        relatives: RelativesCollector | None = None,
    ) -> None:
        """Add a batch: one clean pass a group of pairs."""
        seen: set[int] = set()
        if relatives is not None:
            relatives.add_tokens(batch)
        self._sums["tokens", batch.dataset] += batch.scored.sum()
        some = _sample(batch)
        if self._reads:
            self._sums["sampled", batch.dataset] += len(some)
        for pairs in groups:
            at = BatchMeasurement.captured(subject, batch, pairs, whole=False)
            for position, pair in enumerate(pairs):
                ends = subject.ends(pair)
                subject.turn_to(ends)
                for layer in set(ends) - seen:
                    self._add_layer(layer, at)
                    for observer in observers:
                        observer.add(layer, batch, at.features(layer).f)
                    if relatives is not None:
                        relatives.add_end(layer, at)
                if relatives is not None:
                    relatives.add_pair(pair, at)
                seen |= set(ends)
                bent = [arm for arm in subject.arms_of(pair) if arm in _BENT]
                for arm, error in at.errors(pair, bent):
                    self._sums["error", pair, arm, batch.dataset] += _sum(error)
                if self._reads:
                    self._add_read(at, pair, some)
                at.forget_all_but(pairs[position + 1 :])

    @property
    def nbytes(self) -> int:
        """What the sums take."""
        return sum(one.nbytes for one in self._sums.values())

    def mean_features(self, key: LayerKey) -> Float64[Tensor, " d_sae"]:
        """Mean value of each feature of a layer over all tokens of a dataset."""
        return self._mean("f", *key)

    def references(self, subject: Subject, layout: Layout) -> Iterator[tuple[LayerKey | ArmKey, Tensor]]:
        """The mean residual of each layer and the mean error of each arm; the origin where there is no token."""
        for key in layout.layers():
            yield key, self._mean("x", *key)
        for run in (*layout.runs(), *layout.unmeasured_changes()):
            yield run, self._mean_error(subject, run)

    def normed_references(self, subject: Subject, layout: Layout) -> Iterator[tuple[LayerKey | ArmKey, Tensor]]:
        """The mean residual of each layer as the next block reads it, and about the mean error of each arm there."""
        if not self._reads:
            return
        for key in layout.layers():
            yield key, self._mean("read", *key)
        for pair, arm, dataset in layout.runs():
            if arm in subject.arms:
                sampled = self._sums["sampled", dataset].clamp_min(1.0)
                yield (pair, arm, dataset), self._sums["read", pair, arm, dataset] / sampled

    def landmarks(self, layout: Layout) -> dict[LayerKey, Landmarks]:
        """What further forms of explained variance need to know of each layer beforehand."""
        return {
            key: Landmarks(
                scale_of(self._mean("x", *key), self._mean("squares", *key)),
                EXTREME * median_of(self._sums["norms", *key].cpu()),
            )
            for key in (layout.layers() if self._sees_norms else ())
        }

    def flat(self) -> Float64[Tensor, " entries"]:
        """All sums in one vector on the CPU, in an order that follows from the layout."""
        return torch.cat(list(self._sums.values())).cpu()

    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Replace all sums by those that `flat` gave, added up over processes."""
        parts = flat.to(self._device).split([len(total) for total in self._sums.values()])
        self._sums = dict(zip(self._sums, parts, strict=True))

    def _add_layer(self, layer: int, at: BatchMeasurement) -> None:
        found, key = at.features(layer), (layer, at.batch.dataset)
        self._sums["x", *key] += _sum(found.x)
        self._sums["f", *key] += _sum(found.f)
        if self._sees_norms:
            self._sums["squares", *key] += _sum(found.x.double().square())
            self._sums["norms", *key] += sketch(norms_of(found.x))
        if self._reads:
            self._sums["read", *key] += _sum(at.as_read(layer))

    def _add_read(self, at: BatchMeasurement, pair: Pair, some: Int64[Tensor, " sampled"]) -> None:
        """Add what arms give for some tokens, as the next block reads it, less what it reads in truth."""
        ends = at.subject.ends(pair)
        before, after = (at.features(end) for end in ends)
        stage = at.subject.stage(pair, before.x[some], ActiveValues.of(before.f[some]), ActiveValues.of(after.f[some]))
        truth = at.as_read(ends[1])[some]
        for arm in at.subject.arms_of(pair):
            error = at.subject.as_read(ends[1], stand_in(arm, stage)) - truth
            self._sums["read", pair, arm, at.batch.dataset] += _sum(error)

    def _mean(self, *name: Any) -> Tensor:
        return self._sums[name] / self._sums["tokens", name[-1]].clamp_min(1.0)

    def _mean_error(self, subject: Subject, run: ArmKey) -> Tensor:
        """An affine arm gives for the means what it gives in the mean."""
        pair, arm, dataset = run
        ends = subject.ends(pair)
        if arm in _BENT:
            return self._mean("error", *run)
        if arm == LAYER_DROP:
            # No SAE is needed, and none is read for it.
            return self._mean("x", ends[0], dataset) - self._mean("x", ends[1], dataset)
        subject.turn_to(ends)
        like = subject.open_sae(ends[1]).W_dec
        (x_source, x_target), (f_source, f_target) = (
            [self._mean(kind, end, dataset).to(like)[None] for end in ends] for kind in ("x", "f")
        )
        return (
            stand_in(arm, subject.stage(pair, x_source, ActiveValues.of(f_source), ActiveValues.of(f_target)))
            - x_target
        )[0]


def _sample(batch: TokenBatch) -> Int64[Tensor, " sampled"]:
    """Scored tokens of a batch, evenly spread over each document: the same however documents are put into batches."""
    chosen: list[int] = []
    start = 0
    for count in batch.scored.sum(1).tolist():
        chosen += (
            [start + at * count // _SAMPLED for at in range(_SAMPLED)]
            if count > _SAMPLED
            else range(start, start + count)
        )
        start += count
    return torch.tensor(chosen, dtype=torch.int64, device=batch.input_ids.device)


def _sum(vectors: Float[Tensor, "tokens d"]) -> Float64[Tensor, " d"]:
    return vectors.sum(0, dtype=torch.float64)
