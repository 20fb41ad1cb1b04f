"""Training of JumpReLU SAEs for several layers at once."""

from collections.abc import Iterator
from typing import Any, cast

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from sae_match.saes.sae import SAE
from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.seeds import seeded
from sae_match.training.trainable_sae import Pass, TrainableSAE

#: A feature that was silent for so many batches counts as dead while training goes on.
_DEAD_AFTER = 200


class SAETraining(L.LightningModule):
    """One JumpReLU SAE a layer, each with its own loss, all on the same tokens.

    Layers are gone through one after another, so that the intermediate values of one only are in
    memory.

    Args:
        settings: How to train; layers and their aims must be spelt out.
        mean: Mean activation of each layer.
        scale: Root mean squared norm of each layer's activations; inputs are divided by it.
    """

    def __init__(
        self,
        settings: SAETrainingSettings,
        mean: Float[Tensor, "layers d_in"],
        scale: Float[Tensor, " layers"],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.settings = settings
        self.saes = nn.ModuleList(
            TrainableSAE(settings, layer_mean, layer_scale, l0, settings.seed + layer)
            for layer_mean, layer_scale, l0, layer in zip(mean, scale, settings.l0, settings.layers, strict=True)
        )

    def by_layer(self) -> Iterator[tuple[int, TrainableSAE]]:
        """Each layer and its SAE."""
        return zip(self.settings.layers, cast("list[TrainableSAE]", self.saes), strict=True)

    def take_over(self, saes: list[SAE]) -> None:
        """Go on from trained SAEs, one for each layer."""
        for (_, trained), sae in zip(self.by_layer(), saes, strict=True):
            trained.take_over(sae)

    def exported(self) -> list[SAE]:
        """The SAEs as they act on raw activations, one for each layer."""
        return [sae.exported() for _, sae in self.by_layer()]

    def l0_aims(self, step_number: int) -> list[float]:
        """Numbers of active features that step `step_number` aims at, by layer."""
        progress = min(1.0, 3 * step_number / self.settings.steps)
        return [l0 * self.settings.l0_start ** (1 - progress) for l0 in self.settings.l0]

    def training_step(self, batch: Float[Tensor, "layers batch d_in"], batch_idx: int) -> None:
        optimizer = cast(LightningOptimizer, self.optimizers())
        number = self.global_step + 1
        passes: list[Pass] = []
        optimizer.zero_grad()
        for (_, sae), x, aim in zip(self.by_layer(), batch, self.l0_aims(self.global_step), strict=True):
            found = cast(Pass, sae(x))
            penalty = (found.l0 / aim - 1).square()
            self.manual_backward(found.squared_error + self.settings.l0_penalty * penalty)
            passes.append(Pass(*(value.detach() for value in found)))
        # Lightning sets the attribute at run time, out of the type checker's sight.
        if number % cast(Any, self.trainer).log_every_n_steps == 0:
            self._log(passes)
        optimizer.step()
        cast(torch.optim.lr_scheduler.LRScheduler, self.lr_schedulers()).step()
        self._after(number, passes, optimizer.optimizer)

    def _after(self, number: int, passes: list[Pass], optimizer: torch.optim.Optimizer) -> None:
        """Keep decoder rows at unit norm, and now and then give silent features a new start."""
        every = self.settings.resample_every
        renews = every > 0 and number % every == 0 and number < self.settings.steps // 2
        for (layer, sae), found in zip(self.by_layer(), passes, strict=True):
            if renews:
                silent = (sae.silent >= every).nonzero().flatten()
                sae.renew(silent, found.error, optimizer, seeded(self.settings.seed, "renewed", layer, number))
            sae.normalise()

    def _log(self, passes: list[Pass]) -> None:
        for (layer, sae), found in zip(self.by_layer(), passes, strict=True):
            self.log_dict(
                {
                    f"explained_variance/{layer}": 1 - found.squared_error / sae.variance,
                    f"l0/{layer}": found.l0,
                    f"dead/{layer}": (sae.silent > _DEAD_AFTER).sum().float(),
                }
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        settings = self.settings
        optimizer = torch.optim.Adam(self.parameters(), lr=settings.learning_rate, betas=(0.9, 0.999))

        def schedule(number: int) -> float:
            return min(1.0, 2 * max(0.0, 1 - number / settings.steps))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
