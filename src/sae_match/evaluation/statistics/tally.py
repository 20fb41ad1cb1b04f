"""Everything that a validation adds up. All of it is sums, so that batches and processes add up alike."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import torch
from jaxtyping import Float64, Real
from torch import Tensor

from sae_match.bootstrap import ROWS
from sae_match.evaluation.arm_names import CLEAN, LAYER_DROP, MATCHING_ARMS, OF_TARGET_ALONE
from sae_match.evaluation.statistics.forms import (
    FORM_COLUMNS,
    Form,
    FormSpread,
    FormSums,
    Landmarks,
    form_entries,
    is_by_dimension,
    is_usual,
)
from sae_match.evaluation.statistics.layout import ArmKey, LayerKey, Layout
from sae_match.evaluation.statistics.streaming import CPU, SPREAD_COLUMNS, DocumentVectors, PairActivity, Spread

#: Where the loss without any stand-in is kept.
_NO_PAIR = (-1, -1)

_Name = tuple[str, int, int, str, str]


class Tally:
    """Sums over a validation's batches, with a row for each replicate of the bootstrap.

    Args:
        layout: What is added up.
        references: For `residual` of each layer and `error` of each arm, the mean vector.
        device: Where sums are; those of the batches, to which they are added without a copy to the host.
    """

    def __init__(
        self,
        layout: Layout,
        references: Mapping[_Name, Float64[Tensor, " d_in"]] | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.layout, self.device = layout, device
        self.references = dict(references or {})
        self.landmarks: dict[LayerKey, Landmarks] = {}
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self._sums = {name: zeros(shape) for name, shape in self._empty()}

    @property
    def nbytes(self) -> int:
        """What the sums take."""
        return sum(one.nbytes for one in self._sums.values())

    def on(self, device: torch.device) -> "Tally":
        """The same on another device; this one where it is there already."""
        if device == self.device:
            return self
        there = Tally(self.layout, {name: one.to(device) for name, one in self.references.items()}, device)
        there.landmarks.update((key, one.to(device)) for key, one in self.landmarks.items())
        there.fill(self.flat())
        return there

    def add_clean(
        self, dataset: str, losses: Float64[Tensor, "documents two"], weights: Float64[Tensor, "rows documents"]
    ) -> None:
        """Add the clean pass of a batch: total loss and number of predictions of each document."""
        self._sums["documents", *_NO_PAIR, "", dataset] += losses.shape[0]
        self._sums["loss", *_NO_PAIR, CLEAN, dataset] += weights @ losses

    def add_layer(
        self,
        key: LayerKey,
        residual: DocumentVectors,
        active: Float64[Tensor, "documents two"],
        by_feature: Real[Tensor, " d_sae"],
        weights: Float64[Tensor, "rows documents"],
    ) -> None:
        """Add a batch's true residuals of a layer, active features and tokens by document, and activity by feature."""
        self._add_vectors(("residual", *_layer(key)), residual, weights)
        self._sums["l0", *_layer(key)] += weights @ active
        self._sums["active", *_layer(key)] += by_feature

    def add_error(self, key: ArmKey, error: DocumentVectors, weights: Float64[Tensor, "rows documents"]) -> None:
        """Add a batch's reconstruction error under an arm."""
        self._add_vectors(("error", *self._arm(key)), error, weights)

    def add_loss(
        self, key: ArmKey, losses: Float64[Tensor, "documents two"], weights: Float64[Tensor, "rows documents"]
    ) -> None:
        """Add a batch's loss under an arm: total and number of predictions of each document."""
        self._sums["loss", *self._arm(key)] += weights @ losses

    def add_pairs(self, key: ArmKey, activity: PairActivity, weights: Float64[Tensor, "rows documents"]) -> None:
        """Add how often both features of an arm's pairs were active on a batch."""
        self._sums["together", *self._arm(key)] += weights @ activity.columns
        self._sums["joint", *self._arm(key)] += activity.joint

    def add_forms(
        self, key: LayerKey | ArmKey, sums: Mapping[Form, FormSums], weights: Float64[Tensor, "rows documents"]
    ) -> None:
        """Add a batch's true residuals of a layer, or its error under an arm, under further forms."""
        for form, found in sums.items():
            there, size = self._sums[form, *self._place(key)], ROWS * FORM_COLUMNS
            there[:size] += found.weighted(weights).flatten()
            there[size:] += torch.cat([found.total, found.squares])[: len(there) - size]

    def add_extreme(
        self, key: LayerKey, tokens: Float64[Tensor, " documents"], weights: Float64[Tensor, "rows documents"]
    ) -> None:
        """Add how many tokens of each document have a residual of extreme norm in a layer."""
        self._sums["extreme", *_layer(key)] += weights @ tokens

    def documents(self, dataset: str) -> int:
        """Documents of a dataset that were added."""
        return int(self._sums["documents", *_NO_PAIR, "", dataset])

    def clean_loss(self, dataset: str) -> Float64[Tensor, "rows two"]:
        """Total loss and number of predictions of the clean pass."""
        return self._sums["loss", *_NO_PAIR, CLEAN, dataset]

    def loss(self, key: ArmKey) -> Float64[Tensor, "rows two"]:
        """Total loss and number of predictions under an arm."""
        return self._sums["loss", *self._arm(key)]

    def residual(self, key: LayerKey) -> Spread:
        """Spread of the true residuals of a layer."""
        return self._spread(("residual", *_layer(key)))

    def error(self, key: ArmKey) -> Spread:
        """Spread of an arm's reconstruction error."""
        return self._spread(("error", *self._arm(key)))

    def change(self, key: ArmKey) -> Spread:
        """Spread of what the layers of a pair change, on the dataset of an arm's key: the error of leaving them out."""
        return self.error((key[0], LAYER_DROP, key[2]))

    def l0(self, key: LayerKey) -> Float64[Tensor, "rows two"]:
        """Active features and tokens of a layer."""
        return self._sums["l0", *_layer(key)]

    def active(self, key: LayerKey) -> Float64[Tensor, " d_sae"]:
        """Tokens on which each feature of a layer was active."""
        return self._sums["active", *_layer(key)]

    def extreme(self, key: LayerKey) -> Float64[Tensor, " rows"]:
        """Tokens whose residual in a layer is of extreme norm."""
        return self._sums["extreme", *_layer(key)]

    def form(self, form: Form, key: LayerKey | ArmKey) -> FormSpread:
        """Spread under a form of the true residuals of a layer, or of an arm's reconstruction error."""
        layer = key if len(key) == 2 else (self.layout.ends(key[0])[1], key[2])
        count = self.l0(layer)[:, 1]
        if is_usual(form):
            count = count - self.extreme(layer)
        size, d_in = ROWS * FORM_COLUMNS, self.layout.width(layer[0])
        sums, landmarks = self._sums[form, *self._place(key)], self.landmarks[layer]
        of_rows, total, squares = sums[:size].view(ROWS, FORM_COLUMNS), sums[size : size + d_in], sums[size + d_in :]
        by_dimension = is_by_dimension(form)
        return FormSpread(
            count,
            of_rows,
            total,
            squares if by_dimension else torch.full_like(total, torch.nan),
            self.reference(key, normed=not by_dimension),
            landmarks.scale if by_dimension else torch.ones_like(total),
        )

    def together(self, key: ArmKey) -> Float64[Tensor, "rows three"]:
        """Over all pairs: tokens on which both features were active, the source's, the target's."""
        return self._sums["together", *self._arm(key)]

    def joint(self, key: ArmKey) -> Float64[Tensor, " n_source"]:
        """Tokens on which a source feature and its partner were both active."""
        return self._sums["joint", *self._arm(key)]

    def refer(self, references: Iterable[tuple[LayerKey | ArmKey, Tensor]], normed: bool = False) -> None:
        """Set the references of residuals (by layer) and of errors (by arm), or of these behind the norm."""
        for key, vector in references:
            self.references[self._about(key, normed)] = vector.double().to(self.device)

    def reference(self, key: LayerKey | ArmKey, normed: bool = False) -> Float64[Tensor, " d_in"]:
        """The reference of a layer's residuals or of an arm's errors, or of these behind the norm."""
        return self.references[self._about(key, normed)]

    def flat(self) -> Float64[Tensor, " entries"]:
        """All sums in one vector on the CPU, in an order that follows from the layout."""
        return torch.cat([self._sums[name].flatten() for name in sorted(self._sums)]).cpu()

    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Replace all sums by those that `flat` gave, here or elsewhere.

        Raises:
            ValueError: If they are of another layout.
        """
        names = sorted(self._sums)
        sizes = [self._sums[name].numel() for name in names]
        if sum(sizes) != len(flat):
            raise ValueError(f"{len(flat)} sums do not fill a layout of {sum(sizes)}")
        for name, part in zip(names, flat.to(self.device).split(sizes), strict=True):
            self._sums[name] = part.reshape(self._sums[name].shape).clone()

    def _empty(self) -> Iterator[tuple[_Name, tuple[int, ...]]]:
        layout = self.layout
        for dataset in layout.datasets:
            yield ("documents", *_NO_PAIR, "", dataset), ()
            yield ("loss", *_NO_PAIR, CLEAN, dataset), (ROWS, 2)
        for key in layout.layers():
            width = layout.width(key[0])
            yield ("residual", *_layer(key)), (ROWS * SPREAD_COLUMNS + width,)
            yield ("l0", *_layer(key)), (ROWS, 2)
            yield ("active", *_layer(key)), (layout.features[key[0]],)
            if layout.forms:
                yield ("extreme", *_layer(key)), (ROWS,)
            yield from self._empty_forms(_layer(key), width)
        for run in layout.runs():
            yield ("loss", *self._arm(run)), (ROWS, 2)
            yield ("error", *self._arm(run)), (ROWS * SPREAD_COLUMNS + layout.d_in,)
            if run[1] in MATCHING_ARMS:
                yield ("together", *self._arm(run)), (ROWS, 3)
                yield ("joint", *self._arm(run)), (layout.features[layout.ends(run[0])[0]],)
            yield from self._empty_forms(self._arm(run), layout.d_in)
        for change in layout.unmeasured_changes():
            yield ("error", *self._arm(change)), (ROWS * SPREAD_COLUMNS + layout.d_in,)

    def _empty_forms(self, place: tuple[int, int, str, str], width: int) -> Iterator[tuple[_Name, tuple[int, ...]]]:
        for form in self.layout.forms:
            yield (form, *place), (form_entries(form, ROWS, width),)

    def _add_vectors(self, name: _Name, vectors: DocumentVectors, weights: Float64[Tensor, "rows documents"]) -> None:
        size = ROWS * SPREAD_COLUMNS
        self._sums[name][:size] += vectors.weighted(weights).flatten()
        self._sums[name][size:] += vectors.total

    def _spread(self, name: _Name) -> Spread:
        size, sums = ROWS * SPREAD_COLUMNS, self._sums[name]
        return Spread(sums[:size].view(ROWS, SPREAD_COLUMNS), sums[size:], self.references[name])

    def _about(self, key: LayerKey | ArmKey, normed: bool) -> _Name:
        return "normed" if normed else "residual" if len(key) == 2 else "error", *self._place(key)

    def _place(self, key: LayerKey | ArmKey) -> tuple[int, int, str, str]:
        return _layer(key) if len(key) == 2 else self._arm(key)

    def _arm(self, key: ArmKey) -> tuple[int, int, str, str]:
        """Where an arm is kept: what does not depend on the source layer once a target, twins in one place."""
        (source, target), arm, dataset = key
        return (-1 if arm in OF_TARGET_ALONE else source), target, self.layout.twins.get(arm, arm), dataset


def _layer(key: LayerKey) -> tuple[int, int, str, str]:
    return key[0], key[0], "", key[1]
