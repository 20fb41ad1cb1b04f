"""Training of JumpReLU SAEs for several layers at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import lightning as L
import torch
from jaxtyping import Float, Int
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from sae_match.saes.sae import SAE
from sae_match.training.jumprelu import jumprelu, step


@dataclass
class SAETrainingSettings:
    """How SAEs are trained.

    Attributes:
        layers: Layers that get an SAE; all of them if empty.
        d_sae: Features of each SAE.
        l0: Mean number of active features a token that training aims at, for each chosen layer
            in turn or for each layer of the model; a single entry holds for all.
        l0_start: The aim at the first step, as a multiple of `l0`; it falls geometrically over the
            first third of the steps.
        l0_penalty: Weight of `(L0 / aim - 1)^2` beside the squared error of inputs of unit mean squared norm.
        resample_every: During the first half, every so many steps, features that were silent all the
            while start anew from what is reconstructed worst (Bricken et al. 2023); 0 for never.
        bandwidth: Width of the straight-through window around a threshold, in units of the scaled input.
        tokens: Activations collected once before training and drawn from at random, BOS left out.
        batch: Activations in an optimiser step.
        steps: Optimiser steps.
        learning_rate: Adam's, constant for the first half, then falling linearly to zero.
        start_from: Folder of SAEs in Gemma Scope's layout that training goes on from, instead of starting
            anew; each of its layers must hold one SAE of the same width.
        context: Length of the crops that the activations are collected on, BOS included.
        seed: Seed of layer `t` is `seed + t`, for initialisation; batches follow `seed`.
    """

    layers: list[int] = field(default_factory=list)
    d_sae: int = 512
    l0: list[float] = field(default_factory=lambda: [7.0])
    l0_start: float = 5.0
    l0_penalty: float = 1.0
    resample_every: int = 250
    bandwidth: float = 0.03
    tokens: int = 2_000_000
    batch: int = 2048
    steps: int = 20_000
    learning_rate: float = 2e-3
    start_from: str | None = None
    context: int = 256
    seed: int = 0


class ActivationBatches(IterableDataset[Float[Tensor, "layers batch d_in"]]):
    """Batches of activations drawn at random from a store that holds all of them."""

    def __init__(self, store: Float[Tensor, "layers tokens d_in"], *, batch: int, steps: int, seed: int) -> None:
        super().__init__()
        self.store, self.batch, self.steps, self.seed = store, batch, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Float[Tensor, "layers batch d_in"]]:
        generator = torch.Generator(self.store.device).manual_seed(self.seed)
        tokens = self.store.shape[1]
        for _ in range(self.steps):
            picked = torch.randint(tokens, (self.batch,), generator=generator, device=self.store.device)
            yield self.store[:, picked].float()


class _Pass(NamedTuple):
    """What one pass over a batch gives for each layer."""

    error: Float[Tensor, "layers batch d_in"]
    squared_error: Float[Tensor, " layers"]
    l0: Float[Tensor, " layers"]


class SAETraining(L.LightningModule):
    """One JumpReLU SAE a layer, trained side by side on inputs of unit mean squared norm.

    Args:
        settings: How to train.
        mean: Mean activation of each layer.
        scale: Root mean squared norm of each layer's activations; inputs are divided by it.
        layers: Names of the layers, for seeds and logs.
    """

    def __init__(
        self,
        settings: SAETrainingSettings,
        mean: Float[Tensor, "layers d_in"],
        scale: Float[Tensor, " layers"],
        layers: Sequence[int],
    ) -> None:
        super().__init__()
        self.settings, self.layers = settings, layers
        self.register_buffer("scale", scale)
        self.scale: Tensor
        self.register_buffer("variance", 1 - (mean / scale[:, None]).square().sum(-1))
        self.variance: Tensor
        n_layers, d_in = mean.shape
        rows = torch.stack([_unit_rows(settings.d_sae, d_in, settings.seed + layer) for layer in layers])
        centre = (mean / scale[:, None]).cpu()
        spread = ((1 - centre.square().sum(-1)).clamp_min(1e-3) / d_in).sqrt()
        l0 = torch.tensor(settings.l0).expand(n_layers).clone()
        self.register_buffer("l0", l0)
        self.l0: Tensor
        active = (settings.l0_start * l0 / settings.d_sae).clamp_max(0.4)
        start = spread * torch.distributions.Normal(0.0, 1.0).icdf(1 - active)
        self.W_enc = nn.Parameter(rows.mT.clone())
        self.b_enc = nn.Parameter(-torch.einsum("ld,lfd->lf", centre, rows))
        self.W_dec = nn.Parameter(rows)
        self.b_dec = nn.Parameter(centre.clone())
        self.register_buffer("silent", torch.zeros(n_layers, settings.d_sae, dtype=torch.int32))
        self.silent: Tensor
        self.log_threshold = nn.Parameter(start.log()[:, None].repeat(1, settings.d_sae))

    def l0_aim(self, step_number: int) -> Float[Tensor, " layers"]:
        """Numbers of active features that step `step_number` aims at."""
        progress = min(1.0, 3 * step_number / self.settings.steps)
        return self.l0.mul(self.settings.l0_start ** (1 - progress))

    def _forward(self, x: Float[Tensor, "layers batch d_in"]) -> _Pass:
        threshold = self.log_threshold.exp()[:, None, :]
        z = torch.baddbmm(self.b_enc[:, None, :], x, self.W_enc)
        f = jumprelu(z, threshold, self.settings.bandwidth)
        error = torch.baddbmm(self.b_dec[:, None, :], f, self.W_dec) - x
        l0 = step(z, threshold, self.settings.bandwidth).sum(-1).mean(-1)
        self.silent = torch.where((f > 0).any(1), 0, self.silent + 1)
        return _Pass(error, error.square().sum(-1).mean(-1), l0)

    def training_step(self, batch: Float[Tensor, "layers batch d_in"], batch_idx: int) -> Float[Tensor, ""]:
        found = self._forward(batch / self.scale[:, None, None])
        penalty = (found.l0 / self.l0_aim(self.global_step) - 1).square()
        # Lightning sets the attribute at run time, out of the type checker's sight.
        if (batch_idx + 1) % cast(Any, self.trainer).log_every_n_steps == 0:
            self._log(found)
        self.error = found.error.detach()
        return (found.squared_error + self.settings.l0_penalty * penalty).sum()

    def _log(self, found: _Pass) -> None:
        explained = 1 - found.squared_error / self.variance
        dead = (self.silent > 200).sum(-1).float()
        for name, values in (("explained_variance", explained), ("l0", found.l0), ("dead", dead)):
            self.log(f"{name}/mean", values.mean(), prog_bar=True)
            self.log_dict({f"{name}/{layer}": value for layer, value in zip(self.layers, values, strict=True)})

    @torch.no_grad()
    def on_train_batch_end(self, *_: object) -> None:
        """Keep decoder rows at unit norm, and give silent features a new start."""
        every = self.settings.resample_every
        if every and self.global_step % every == 0 and self.global_step < self.settings.steps // 2:
            for row in range(len(self.layers)):
                self._resample(row, (self.silent[row] >= every).nonzero().flatten())
        self.W_dec.div_(self.W_dec.norm(dim=-1, keepdim=True))

    @torch.no_grad()
    def _resample(self, row: int, silent: Int[Tensor, " silent"]) -> None:
        """Point silent features of a layer at what was missing in the worst reconstructed activations."""
        if len(silent) == 0:
            return
        missing = -self.error[row]
        picked = torch.multinomial(missing.square().sum(-1), len(silent), replacement=True)
        direction = torch.nn.functional.normalize(missing[picked], dim=-1)
        self.W_dec[row, silent] = direction
        self.W_enc[row][:, silent] = direction.T
        self.b_enc[row, silent] = -direction @ self.b_dec[row]
        self.log_threshold[row, silent] = self.log_threshold[row].median()
        self.silent[row, silent] = 0
        state = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False)).state
        for parameter, index in (
            (self.W_dec, (row, silent)),
            (self.W_enc, (row, slice(None), silent)),
            (self.b_enc, (row, silent)),
            (self.log_threshold, (row, silent)),
        ):
            for moment in ("exp_avg", "exp_avg_sq"):
                state[parameter][moment][index] = 0

    def configure_optimizers(self) -> OptimizerLRScheduler:
        settings = self.settings
        optimizer = torch.optim.Adam(self.parameters(), lr=settings.learning_rate, betas=(0.9, 0.999))

        def schedule(number: int) -> float:
            return min(1.0, 2 * max(0.0, 1 - number / settings.steps))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @torch.no_grad()
    def go_on_from(self, saes: Sequence[SAE]) -> None:
        """Take over the parameters of trained SAEs, one for each layer."""
        for row, sae in enumerate(saes):
            scale = self.scale[row]
            self.W_enc[row], self.b_enc[row] = sae.W_enc, sae.b_enc / scale
            self.W_dec[row], self.b_dec[row] = sae.W_dec, sae.b_dec / scale
            self.log_threshold[row] = (sae.tensors()["threshold"] / scale).log()

    @torch.no_grad()
    def saes(self) -> list[SAE]:
        """The SAEs as they act on raw activations: the scale goes into biases and thresholds."""
        scale = self.scale[:, None]
        parts = zip(
            self.W_enc,
            self.b_enc * scale,
            self.W_dec,
            self.b_dec * scale,
            self.log_threshold.exp() * scale,
            strict=True,
        )
        return [SAE(*(part.detach().float().cpu().clone() for part in layer)) for layer in parts]


def _unit_rows(d_sae: int, d_in: int, seed: int) -> Float[Tensor, "d_sae d_in"]:
    rows = torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)
