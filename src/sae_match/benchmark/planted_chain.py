"""Dictionaries of several layers, each of which shares a known part of its features with the one before.

Unlike `planted`, which is made to be matched fast, these have what makes a match hard to believe: directions that are
crowded in every layer alike, near copies, dead features, lengths and thresholds of unlike scale.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sae_match.saes.sae import SAE

_ENCODER_NOISE, _COPY_NOISE, _LOWEST_BIAS = 0.7, 0.3, -2.0
# Of the directions that all layers crowd around.
_CROWDS, _CROWD_STRENGTH = 30, 0.6


@dataclass(frozen=True)
class Plan:
    """How dictionaries are made.

    Attributes:
        new: Share of a layer's features that are not in the layer before.
        crowding: Directions spread over dimension `i` as `i^-crowding`.
        common: Length of what is added to every direction, the same in all layers.
        copies: Share of the features that are near copies of others, in every layer.
        dead: Share of the features without encoder and decoder, in every layer on its own.
        lengths: Standard deviation of the logarithm of encoder and decoder lengths.
        thresholds: The same of thresholds.
        drift: The same of the ratio of a feature's thresholds in two layers.
        crowds: Whether each direction is drawn towards one of thirty, the same in all layers.
    """

    new: float
    crowding: float = 0.35
    common: float = 0.0
    copies: float = 0.0
    dead: float = 0.0
    lengths: float = 0.0
    thresholds: float = 0.5
    drift: float = 0.3
    crowds: bool = False


@dataclass(frozen=True, eq=False)
class Layer:
    """A dictionary, and who its features are.

    Attributes:
        sae: The dictionary.
        who: A number for each feature; those of two layers that are the same, or near copies, have the same one.
    """

    sae: SAE
    who: Int64[Tensor, " d_sae"]


def planted_chain(plan: Plan, d_in: int, d_sae: int, *, layers: int = 2, seed: int = 0) -> list[Layer]:
    """Dictionaries of consecutive layers.

    A feature that goes on is `alpha` times itself plus fresh noise in the next layer, `alpha` the square root of a
    uniform number; encoders are decoders plus noise; the features of every layer are shuffled.

    Args:
        plan: How they are made.
        d_in: Width of activations.
        d_sae: Features of each.
        layers: How many.
        seed: Of all that is drawn.
    """
    return _Planter(plan, d_in, d_sae, seed).chain(layers)


class _Planter:
    """Draws layers; what all of them have in common is drawn first."""

    def __init__(self, plan: Plan, d_in: int, d_sae: int, seed: int) -> None:
        self.plan, self.d_in, self.d_sae = plan, d_in, d_sae
        self.generator = torch.Generator().manual_seed(seed)
        self.scale = torch.arange(1, d_in + 1).pow(-plan.crowding)
        self.common = plan.common * _unit(self._normal(1, d_in))
        self.centres = _unit(self._normal(_CROWDS, d_in) * self.scale)
        copies = int(plan.copies * d_sae)
        order = torch.randperm(d_sae, generator=self.generator)
        self.copies, others = order[:copies], order[copies:]
        self.originals = others[torch.randint(len(others), (copies,), generator=self.generator)]

    def chain(self, layers: int) -> list[Layer]:
        who = torch.arange(self.d_sae)
        who[self.copies] = who[self.originals]
        decoder = self._copied(self._directions())
        threshold = torch.exp(self.plan.thresholds * self._normal(self.d_sae))
        made = [self._layer(decoder, threshold, who)]
        for number in range(1, layers):
            alpha = torch.rand(self.d_sae, generator=self.generator).sqrt()
            alpha[torch.rand(self.d_sae, generator=self.generator) < self.plan.new] = 0
            alpha[self.copies] = alpha[self.originals]
            fresh = number * self.d_sae + torch.arange(self.d_sae)
            fresh[self.copies] = fresh[self.originals]
            who = torch.where(alpha > 0, who, fresh)
            kept = alpha[:, None]
            decoder = self._copied(_unit(kept * decoder + (1 - kept.square()).sqrt() * self._directions()))
            threshold = threshold * torch.exp(self.plan.drift * self._normal(self.d_sae))
            made.append(self._layer(decoder, threshold, who))
        return made

    def _layer(
        self, decoder: Float[Tensor, "d_sae d_in"], threshold: Float[Tensor, " d_sae"], who: Int64[Tensor, " d_sae"]
    ) -> Layer:
        order = torch.randperm(self.d_sae, generator=self.generator)
        rows = decoder[order]
        encoder = rows + _ENCODER_NOISE * self._directions()
        encoder = encoder * torch.exp(self.plan.lengths * self._normal(self.d_sae, 1))
        rows = rows * torch.exp(self.plan.lengths * self._normal(self.d_sae, 1))
        dead = torch.rand(self.d_sae, generator=self.generator) < self.plan.dead
        encoder[dead], rows[dead] = 0, 0
        bias = _LOWEST_BIAS * torch.rand(self.d_sae, generator=self.generator)
        sae = SAE(encoder.T.contiguous(), bias, rows, torch.zeros(self.d_in), threshold[order])
        return Layer(sae, who[order])

    def _directions(self) -> Float[Tensor, "d_sae d_in"]:
        rows = _unit(self._normal(self.d_sae, self.d_in) * self.scale) + self.common
        if self.plan.crowds:
            drawn = torch.randint(_CROWDS, (self.d_sae,), generator=self.generator)
            rows = rows + _CROWD_STRENGTH * self.centres[drawn]
        return _unit(rows)

    def _copied(self, rows: Float[Tensor, "d_sae d_in"]) -> Float[Tensor, "d_sae d_in"]:
        if not len(self.copies):
            return rows
        rows = rows.clone()
        near = rows[self.originals] + _COPY_NOISE * self._directions()[: len(self.copies)]
        rows[self.copies] = _unit(near)
        return rows

    def _normal(self, *shape: int) -> Float[Tensor, "*shape"]:
        return torch.randn(*shape, generator=self.generator)


def _unit(rows: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return unit
