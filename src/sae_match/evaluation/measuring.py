"""One batch of text: the clean pass, then every pair and arm on top of what it left."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sae_match.evaluation.arm_names import LAYER_DROP, MEAN
from sae_match.evaluation.arms import Stage, stand_in
from sae_match.evaluation.passes.blocks import Blocks
from sae_match.evaluation.passes.subject import Subject
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.forms import UsualTokens, is_by_dimension, sums_under
from sae_match.evaluation.statistics.layout import ArmKey, LayerKey
from sae_match.evaluation.statistics.measures import refuse_not_finite
from sae_match.evaluation.statistics.norms import norms_of
from sae_match.evaluation.statistics.streaming import Active, DocumentVectors, PairActivity, counted
from sae_match.evaluation.statistics.tally import Tally
from sae_match.evaluation.transport import ActiveValues
from sae_match.model.residual_stream import CleanPass
from sae_match.text.batches import TokenBatch


@dataclass(frozen=True)
class Features:
    """True residuals of a layer on a batch's scored tokens, its SAE's features of them, the active ones as lists."""

    x: Float[Tensor, "tokens d_in"]
    f: Float[Tensor, "tokens d_sae"]
    active: Active
    values: ActiveValues


class BatchMeasurement:
    """Measures pairs of layers on one batch.

    Args:
        subject: What is measured.
        batch: On which text.
        clean: Its clean pass, with the residuals of all layers that the pairs have.

    Attributes:
        places: Of the scored tokens among all of the batch, row by row. The host waits for how many there are: it is
            found out once, and everything about arms goes by it.
        document: Which document of the batch each of them belongs to.
    """

    def __init__(self, subject: Subject, batch: TokenBatch, clean: CleanPass) -> None:
        self.subject, self.batch, self.clean = subject, batch, clean
        self._blocks = subject.blocks or Blocks.of(batch.input_ids.device)
        self.places = batch.scored.flatten().nonzero()[:, 0]
        self.document = self.places // batch.scored.shape[1]
        predicted = batch.scored[:, :-1] & batch.scored[:, 1:]
        self._predictions, self._predicted = predicted.flatten().nonzero()[:, 0], predicted.sum(1).double()
        self._features: dict[int, Features] = {}
        self._usual_of: dict[int, UsualTokens] = {}
        self._finite: dict[str, Bool[Tensor, ""]] = {}
        self._as_read: dict[int, Tensor] = {}

    @classmethod
    def captured(
        cls, subject: Subject, batch: TokenBatch, pairs: Iterable[Pair], *, whole: bool = True
    ) -> "BatchMeasurement":
        """A batch with its clean pass: of the whole model, or as far as the pairs' last layer, without losses."""
        places = {subject.place(end) for pair in pairs for end in subject.ends(pair)}
        clean = subject.stream.capture(batch.input_ids, batch.attention_mask, subject.site, keep=places, whole=whole)
        return cls(subject, batch, clean)

    def clean_losses(self) -> Float64[Tensor, "documents two"]:
        """Total loss and number of predictions of each document, without any stand-in."""
        losses = self._losses(self.clean.last)[0]
        self._look_at(losses, "the model without any stand-in")
        return losses

    def scored(self, value: Float[Tensor, "batch seq d"]) -> Float[Tensor, "tokens d"]:
        """What a value is on the scored tokens."""
        return value.flatten(0, 1)[self.places]

    def value(self, layer: int) -> Float[Tensor, "tokens d_in"]:
        """True values of a layer, or end, on the scored tokens."""
        return self.scored(self.clean.values[self.subject.place(layer)])

    def refuse_not_finite(self) -> None:
        """Check that all losses so far are numbers.

        Raises:
            UserError: If one is not finite.
        """
        refuse_not_finite(self._finite, self.batch.dataset)

    def features(self, layer: int) -> Features:
        """Residuals and features of a layer, or end; made once while they are needed."""
        if layer not in self._features:
            x = self.value(layer).float()
            f = self.subject.open_sae(layer).encode(x)
            active = Active.of(f)
            self._features[layer] = Features(x, f, active, ActiveValues.listed(f, active.token, active.feature))
        return self._features[layer]

    def forget(self, layer: int) -> None:
        """Drop the features of a layer."""
        self._features.pop(layer, None)
        self._as_read.pop(layer, None)
        self._usual_of.pop(layer, None)

    def forget_all_but(self, pairs: Iterable[Pair]) -> None:
        """Drop the features of layers that no further pair has."""
        later = {end for pair in pairs for end in self.subject.ends(pair)}
        for layer in self._features.keys() - later:
            self.forget(layer)

    def as_read(self, layer: int) -> Float[Tensor, "tokens d_in"]:
        """Residuals of a layer as the next block reads them; made once while they are needed."""
        if layer not in self._as_read:
            self._as_read[layer] = self.subject.as_read(layer, self.features(layer).x)
        return self._as_read[layer]

    def stage(self, pair: Pair) -> Stage:
        """What the arms of a pair are made of."""
        before, after = (self.features(end) for end in self.subject.ends(pair))
        return self.subject.stage(pair, before.x, before.values, after.values)

    def errors(self, pair: Pair, arms: Sequence[str]) -> Iterator[tuple[str, Float[Tensor, "tokens d_in"]]]:
        """Reconstruction error of each arm of a pair."""
        stage, x = self.stage(pair), self.features(self.subject.ends(pair)[1]).x
        for arm in arms:
            yield arm, stand_in(arm, stage) - x

    def add_layer(self, layer: int, tally: Tally, weights: Float64[Tensor, "rows documents"]) -> None:
        """Add a layer's residuals and activity."""
        key, found = (layer, self.batch.dataset), self.features(layer)
        residual = DocumentVectors.of(found.x, self.document, len(weights[0]), tally.reference(key))
        active = found.active.by_document(self.document, len(weights[0]))
        columns = torch.stack([active, residual.columns[:, 0]], 1)
        tally.add_layer(key, residual, columns, found.active.by_feature(), weights)
        if tally.layout.forms:
            extreme = counted(self.document, len(weights[0]), ~self._usual(layer, tally).are)
            tally.add_extreme(key, extreme, weights)
            self._add_forms(key, layer, found.x, tally, weights)

    def add_pair(
        self, pair: Pair, arms: Sequence[str], tally: Tally, weights: Float64[Tensor, "rows documents"]
    ) -> None:
        """Add everything about a pair under some of its arms."""
        source, target = self.subject.ends(pair)
        # What the layers change is the scale of `explained_change`, also where no arm leaves them out.
        if LAYER_DROP not in self.subject.arms and tally.layout.changes_in(pair):
            change = self.features(source).x - self.features(target).x
            self._add_error((pair, LAYER_DROP, self.batch.dataset), change, tally, weights)
        for together in self._side_by_side(arms):
            values = []
            for arm, error in self.errors(pair, together):
                key = (pair, arm, self.batch.dataset)
                self._add_error(key, error, tally, weights)
                self._add_forms(key, target, error, tally, weights)
                values.append(self._placed(target, self.features(target).x + error))
            last = self.subject.stream.resume(self.clean, pair[1], torch.cat(values), self.subject.site)
            del values
            for arm, losses in zip(together, self._losses(last), strict=True):
                self._look_at(losses, f"layers {pair[0]} to {pair[1]}, arm {arm}")
                tally.add_loss((pair, arm, self.batch.dataset), losses, weights)
        before, after = self.features(source), self.features(target)
        for arm, transport in self.subject.matchings[pair].transports.items():
            if arm in arms:
                counted = PairActivity.of(
                    before.active, after.active, after.f, transport.permutation, self.document, len(weights[0])
                )
                tally.add_pairs((pair, arm, self.batch.dataset), counted, weights)

    def _add_error(
        self, key: ArmKey, error: Float[Tensor, "tokens d_in"], tally: Tally, weights: Float64[Tensor, "rows documents"]
    ) -> None:
        tally.add_error(key, DocumentVectors.of(error, self.document, len(weights[0]), tally.reference(key)), weights)

    def _usual(self, layer: int, tally: Tally) -> UsualTokens:
        """Tokens whose residual in a layer is not of extreme norm; found once while they are needed."""
        if layer not in self._usual_of:
            landmarks = tally.landmarks[layer, self.batch.dataset]
            self._usual_of[layer] = UsualTokens.of(norms_of(self.features(layer).x), landmarks)
        return self._usual_of[layer]

    def _add_forms(
        self,
        key: LayerKey | ArmKey,
        layer: int,
        vectors: Float[Tensor, "tokens d_in"],
        tally: Tally,
        weights: Float64[Tensor, "rows documents"],
    ) -> None:
        """Add residuals of a layer (by its key), or errors in them (by an arm's), under further forms."""
        if not tally.layout.forms:
            return
        usual, documents = self._usual(layer, tally), len(weights[0])
        scale = tally.landmarks[layer, self.batch.dataset].scale
        as_they_are = [form for form in tally.layout.forms if is_by_dimension(form)]
        sums = sums_under(as_they_are, vectors, usual, self.document, documents, tally.reference(key), scale)
        tally.add_forms(key, sums, weights)
        if behind := [form for form in tally.layout.forms if not is_by_dimension(form)]:
            read = self.as_read(layer)
            if len(key) > 2:
                read = self.subject.as_read(layer, self.features(layer).x + vectors) - read
            reference = tally.reference(key, normed=True)
            sums = sums_under(behind, read, usual, self.document, documents, reference, None)
            tally.add_forms(key, sums, weights)

    def _placed(self, layer: int, x_hat: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "batch seq d_in"]:
        """What stands in for a layer's value: BOS and padding keep their own."""
        value = self.clean.values[self.subject.place(layer)].clone(memory_format=torch.contiguous_format)
        value.flatten(0, 1).index_copy_(0, self.places, x_hat.to(value.dtype))
        return value

    def _losses(self, last: Float[Tensor, "rows seq d"]) -> Float64[Tensor, "arms documents two"]:
        """Total loss and number of predictions of each document, for each arm that the rows are of."""
        rows, seq = self.batch.input_ids.shape
        times = len(last) // rows
        apart = torch.arange(times, device=last.device)[:, None] * (rows * (seq - 1))
        places = (apart + self._predictions).flatten()
        ids = self.batch.input_ids.repeat(times, 1)
        losses = self.subject.stream.next_token_losses(last, ids, places, self._blocks.logits).double().sum(1)
        return torch.stack([losses, self._predicted.repeat(times)], 1).view(times, -1, 2)

    def _look_at(self, losses: Float64[Tensor, "documents two"], where: str) -> None:
        """Note whether losses are numbers, to be asked for when all are there."""
        self._finite[where] = losses.isfinite().all()

    def _side_by_side(self, arms: Sequence[str]) -> Iterator[Sequence[str]]:
        # Products that arms share have last digits by how many arms there are: the mean, for scale only, goes alone.
        alone, arms = [arm for arm in arms if arm == MEAN], [arm for arm in arms if arm != MEAN]
        step = self._blocks.arms_of(self.batch.input_ids.numel())
        together = (arms[start : start + step] for start in range(0, len(arms), step))
        return chain(together, [alone] if alone else [])
