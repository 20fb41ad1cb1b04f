"""What a training of SAEs can be told, and the same with every number settled for one model."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, cast

from sae_match.errors import UserError
from sae_match.saes.sites import checked_site

_GIGABYTE = 10**9
#: The buffer holds bfloat16.
_BYTES = 2
# The rule for tokens, steps and rate, where they are not given. Measured on SmolLM2, layer 15, 4,096 features,
# L0 38: 150 uses a feature give 0.67 of the variance by dimension; a rate of 8e-3 instead of 4e-3 costs 4 % of the
# features. On random models of two shapes (`benchmark.py 'cases=[recipe]'`) 15 and 6 % are dead with it, else 3 and 1.
_PER_FEATURE, _USES, _FEWEST_STEPS = 150, 2, 1000
_RATE, _HIGHEST_RATE = 8.0, 4e-3


@dataclass
class SAETrainingSettings:
    """How SAEs are trained.

    Attributes:
        layers: Layers that get an SAE; all of them if empty.
        site: Where in its layer each SAE reads: `residual`, `residual_before`, `mlp` (what the MLP adds to the
            residual stream), `attention` (the heads before they are projected) or `attention_output`.
        d_sae: Features of each SAE.
        expansion: Features for each dimension of what is read; where it is given, it decides
            instead of `d_sae`.
        l0: Mean number of active features a token that training aims at, for each chosen layer
            in turn or for each layer of the model; a single entry holds for all.
        l0_start: The aim at the first step, as a multiple of `l0`; it falls geometrically over the
            first third of the steps.
        l0_penalty: Weight of `(L0 / aim - 1)^2` beside the squared error of inputs of unit mean squared norm.
        resample_every: During the first half, every so many steps, a few of the features that were silent all
            the while start anew from what is reconstructed worst (Bricken et al. 2023); 0 for never.
        bandwidth: Width of the straight-through window around a threshold, in units of the standard
            deviation of the feature's own pre-activation.
        clip: Norm that the gradient of a layer's SAE is cut to.
        tokens: Activations of each layer that go into the training, BOS left out; never more than its
            steps use. If none is given, as many as the steps use, or, without steps either, 150 a feature.
        batch: Activations in an optimiser step.
        steps: Optimiser steps; if none are given, so many that each activation is used twice, a thousand
            at least.
        learning_rate: Adam's, reached in fifty steps, constant for the first half, then falling linearly to
            zero. If none is given, `8 / sqrt(steps d_sae)`, which falls with the width as in Gao et al.
            (arXiv 2406.04093), and 4e-3 at most.
        buffer: Gigabytes that the buffer may take in which the activations of all chosen layers are
            shuffled. It is filled, used up and filled again.
        context: Length of the crops that the activations are collected on, BOS included.
        crops: Crops in one pass of the model, the same number of each dataset.
        shuffle: Crops of each dataset, in the order they are read, among which the next is picked at random.
        start_from: Folder of SAEs in Gemma Scope's layout that training goes on from, instead of starting
            anew; each of its layers must hold one SAE of the same width.
        activations: Folder in which collected activations are kept, for this training and for others of the
            same model, layers and text; without one they lie below the destination and go when training is over.
        checkpoint_every: Steps between two checkpoints; 0 for none.
        seed: Seed of layer `t` is `seed + t`, for initialisation; batches follow `seed`.
    """

    #: What it writes to its destination, as patterns, beside what it knows again by what stands in it.
    leaves: ClassVar[tuple[str, ...]] = ("layer_*", "sae_lens")
    #: The files of these, as patterns.
    files: ClassVar[tuple[str, ...]] = (
        "layer_*/width_*/average_l0_*/params.npz",
        "sae_lens/layer_*/cfg.json",
        "sae_lens/layer_*/sae_weights.safetensors",
    )

    layers: list[int] = field(default_factory=list)
    site: str = "residual"
    d_sae: int = 512
    expansion: int | None = None
    l0: list[float] = field(default_factory=lambda: [7.0])
    l0_start: float = 5.0
    l0_penalty: float = 1.0
    resample_every: int = 100
    bandwidth: float = 0.2
    clip: float = 1.0
    tokens: int | None = None
    batch: int = 2048
    steps: int | None = None
    learning_rate: float | None = None
    buffer: float = 8.0
    context: int = 256
    crops: int = 64
    shuffle: int = 8192
    start_from: str | None = None
    activations: str | None = None
    checkpoint_every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_impossible_training(self)


class Block(NamedTuple):
    """What the buffer holds at one time.

    Attributes:
        first: The first step that draws from it.
        steps: Number of steps that do.
        activations: Number of activations of each layer.
    """

    first: int
    steps: int
    activations: int


@dataclass(frozen=True)
class Blocks:
    """How the activations of a training come through the buffer, one block after another.

    Attributes:
        steps: Optimiser steps of the training.
        tokens: Activations of each layer that they use.
        steps_each: Steps that draw from one block; the last block may have fewer.
    """

    steps: int
    tokens: int
    steps_each: int

    def at(self, step: int) -> Block:
        """The block that a step draws from."""
        first = step // self.steps_each * self.steps_each
        steps = min(self.steps_each, self.steps - first)
        return Block(first, steps, -(-steps * self.tokens // self.steps))

    @property
    def number(self) -> int:
        """How many blocks there are."""
        return -(-self.steps // self.steps_each)


def settled(settings: SAETrainingSettings, n_layers: int, d_in: int) -> SAETrainingSettings:
    """The settings with layers, their aims, width and tokens spelt out.

    Raises:
        UserError: If the model has no such layer, or a number cannot be.
    """
    layers = list(settings.layers) or list(range(n_layers))
    if not set(layers) <= set(range(n_layers)):
        raise UserError(f"training.layers must lie in 0 … {n_layers - 1}, got {layers}")
    refuse_impossible_training(settings)
    if settings.expansion is not None:
        settings = replace(settings, d_sae=settings.expansion * d_in)
    settings = replace(settings, layers=layers, l0=_l0_of(layers, settings, n_layers))
    tokens = _tokens(settings)
    steps = settings.steps or max(_FEWEST_STEPS, -(-_USES * tokens // settings.batch))
    rate = settings.learning_rate or min(_HIGHEST_RATE, _RATE / (steps * settings.d_sae) ** 0.5)
    return replace(settings, tokens=min(tokens, steps * settings.batch), steps=steps, learning_rate=rate)


def blocks_of(settings: SAETrainingSettings, d_in: int) -> Blocks:
    """How settled settings divide their tokens into blocks that fit the buffer.

    Raises:
        UserError: If the buffer does not hold what one step takes in.
    """
    steps, tokens = steps_of(settings), _tokens(settings)
    each = len(settings.layers) * d_in * _BYTES
    capacity = int(settings.buffer * _GIGABYTE / each)
    steps_each = min(steps, capacity * steps // tokens)
    if steps_each == 0:
        needed = -(-tokens // steps) * each / _GIGABYTE
        raise UserError(
            f"training.buffer={settings.buffer} gigabytes holds {capacity} activations of each layer, fewer than one "
            f"step takes in; it needs at least {needed:.2g}, and many times that to shuffle well"
        )
    return Blocks(steps, tokens, steps_each)


def buffer_bytes(settings: SAETrainingSettings, d_in: int) -> int:
    """Bytes that the buffer takes: never more than `settings.buffer` gigabytes."""
    return len(settings.layers) * blocks_of(settings, d_in).at(0).activations * d_in * _BYTES


def refuse_impossible_training(settings: SAETrainingSettings) -> None:
    """Refuse what cannot be, whatever the model.

    Raises:
        UserError: If there is any of it.
    """
    checked_site(settings.site)
    if len(set(settings.layers)) < len(settings.layers):
        raise UserError(f"training.layers names a layer twice: {list(settings.layers)}")
    positive = ("batch", "l0_start", "bandwidth", "clip", "buffer", "crops", "shuffle")
    optional = ("expansion", "tokens", "steps", "learning_rate")
    given = (name for name in optional if getattr(settings, name) is not None)
    refuse_not_positive(settings, "d_sae", *positive, *given)
    if settings.context < 2:
        raise UserError(f"training.context must be at least 2, BOS and a token, got {settings.context}")
    for name in ("resample_every", "checkpoint_every", "l0_penalty"):
        if getattr(settings, name) < 0:
            raise UserError(f"training.{name} must not be negative, got {getattr(settings, name)}")


def refuse_not_positive(settings: Any, *names: str) -> None:
    """Refuse a training setting that must be positive and is not.

    Raises:
        UserError: If there is one.
    """
    for name in names:
        if not getattr(settings, name) > 0:
            raise UserError(f"training.{name} must be positive, got {getattr(settings, name)}")


def steps_of(settings: SAETrainingSettings) -> int:
    """Optimiser steps of settled settings."""
    return cast(int, settings.steps)


def _tokens(settings: SAETrainingSettings) -> int:
    if settings.steps is None:
        return settings.tokens or _PER_FEATURE * settings.d_sae
    used = settings.steps * settings.batch
    return used if settings.tokens is None else min(settings.tokens, used)


def _l0_of(layers: Iterable[int], settings: SAETrainingSettings, n_layers: int) -> list[float]:
    """The aim of each chosen layer: `l0` has one entry, one a chosen layer, or one a layer of the model."""
    layers, l0 = list(layers), list(settings.l0)
    if len(l0) == n_layers:
        l0 = [l0[layer] for layer in layers]
    if len(l0) not in (1, len(layers)):
        raise UserError(f"training.l0 needs one entry, one a chosen layer or one a layer of the model, got {l0}")
    if not all(0 < aim < settings.d_sae for aim in l0):
        raise UserError(f"training.l0 must lie between 0 and d_sae = {settings.d_sae}, got {l0}")
    return l0 * len(layers) if len(l0) == 1 else l0
