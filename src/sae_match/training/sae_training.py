"""Training of JumpReLU SAEs for several layers at once."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from sae_match.saes.sae import SAE
from sae_match.training.best import BestState
from sae_match.training.input_scaling import InputScaling, is_usual
from sae_match.training.sae_settings import SAETrainingSettings, steps_of
from sae_match.training.seeds import seeded
from sae_match.training.trainable_sae import Pass, TrainableSAE

#: A feature that was silent for so many batches counts as dead while training goes on.
_DEAD_AFTER = 200
#: How often in a training held-out text is looked at.
_LOOKS = 40
#: Steps in which the learning rate is reached.
_WARM_UP = 50
_BEST = "best"


class SAETraining(L.LightningModule):
    """One JumpReLU SAE a layer, each with its own loss, all on the same tokens.

    Layers are gone through one after another, so that the intermediate values of one only are in
    memory.

    Args:
        settings: How to train; layers, aims, steps and rate must be spelt out.
        scalings: What each layer's activations go through.
        held_out: Raw activations of text that is not trained on; the best state by them is what is kept.
    """

    def __init__(
        self,
        settings: SAETrainingSettings,
        scalings: Sequence[InputScaling],
        held_out: Float[Tensor, "layers tokens d_in"] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.settings, self.steps, self.held_out = settings, steps_of(settings), held_out
        self.saes = nn.ModuleList(
            TrainableSAE(settings, scaling, l0, settings.seed + layer)
            for scaling, l0, layer in zip(scalings, settings.l0, settings.layers, strict=True)
        )
        self.best = [BestState(layer) for layer in settings.layers]

    @torch.no_grad()
    def start(self, samples: Sequence[Float[Tensor, "tokens d_in"]], saes: Sequence[SAE] | None = None) -> None:
        """Begin from random features, or from trained SAEs, with what a sample of each layer's activations shows.

        Args:
            samples: Usual tokens' raw activations of each layer.
            saes: Trained SAEs, one for each layer.
        """
        for number, ((_, sae), sample) in enumerate(zip(self.by_layer(), samples, strict=True)):
            if saes is not None:
                sae.take_over(saes[number])
            sae.start(sample.to(sae.mean.device).float(), thresholds=saes is None)

    def by_layer(self) -> Iterator[tuple[int, TrainableSAE]]:
        """Each layer and its SAE."""
        return zip(self.settings.layers, cast("list[TrainableSAE]", self.saes), strict=True)

    def exported(self) -> list[SAE]:
        """The SAEs as they act on raw activations, one for each layer: the best state of each."""
        for (_, sae), best in zip(self.by_layer(), self.best, strict=True):
            best.put_back(sae)
        return [sae.exported() for _, sae in self.by_layer()]

    def l0_aims(self, step_number: int) -> list[float]:
        """Numbers of active features that step `step_number` aims at, by layer."""
        progress = min(1.0, step_number / self._settles_at)
        return [l0 * self.settings.l0_start ** (1 - progress) for l0 in self.settings.l0]

    @property
    def _settles_at(self) -> int:
        """The step from which on the aimed-at L0 no longer falls."""
        return -(-self.steps // 3)

    def training_step(self, batch: Float[Tensor, "layers batch d_in"], batch_idx: int) -> None:
        optimizer = cast(LightningOptimizer, self.optimizers())
        number = self.global_step + 1
        passes: list[Pass] = []
        optimizer.zero_grad()
        for (_, sae), x, aim in zip(self.by_layer(), batch, self.l0_aims(self.global_step), strict=True):
            found = cast(Pass, sae(x[is_usual(x, sae.longest)]))
            self.manual_backward(self._loss(found, aim))
            nn.utils.clip_grad_norm_(sae.parameters(), self.settings.clip)
            passes.append(Pass(*(value.detach() for value in found)))
        # Lightning sets the attribute at run time, out of the type checker's sight.
        if number % cast(Any, self.trainer).log_every_n_steps == 0:
            self._log(passes)
        optimizer.step()
        cast(torch.optim.lr_scheduler.LRScheduler, self.lr_schedulers()).step()
        self._after(number, passes, optimizer.optimizer)

    def _loss(self, found: Pass, aim: float) -> Tensor:
        return found.squared_error + self.settings.l0_penalty * (found.l0 / aim - 1).square()

    def _after(self, number: int, passes: list[Pass], optimizer: torch.optim.Optimizer) -> None:
        """Keep decoder rows at unit norm, and now and then look at held-out text and renew silent features."""
        every = self.settings.resample_every
        renews = every > 0 and number % every == 0 and number < self.steps // 2
        for (layer, sae), found in zip(self.by_layer(), passes, strict=True):
            sae.normalise()
            if renews:
                silent = (sae.silent >= every).nonzero().flatten()
                sae.renew(silent, found, optimizer, seeded(self.settings.seed, "renewed", layer, number))
        if number % max(1, self.steps // _LOOKS) == 0 or number == self.steps:
            self._look(number)

    @torch.no_grad()
    def _look(self, number: int) -> None:
        """See how the SAEs do on held-out text."""
        if self.held_out is None:
            return
        for (layer, sae), x, aim, best in zip(
            self.by_layer(), self.held_out, self.l0_aims(number), self.best, strict=True
        ):
            sae.eval()
            found = cast(Pass, sae(x[is_usual(x, sae.longest)].to(self.device).float()))
            sae.train()
            error, loss = float(found.squared_error), float(self._loss(found, aim))
            best.look(sae, number, error, loss, counts=number >= self._settles_at)
            self.log(f"held_out_explained_variance/{layer}", 1 - error)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the best states."""
        checkpoint[_BEST] = [best.state_dict() for best in self.best]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the best states."""
        for best, state in zip(self.best, checkpoint[_BEST], strict=True):
            best.load_state_dict(state)

    def _log(self, passes: list[Pass]) -> None:
        for (layer, sae), found in zip(self.by_layer(), passes, strict=True):
            self.log_dict(
                {
                    f"explained_variance/{layer}": 1 - found.squared_error,
                    f"l0/{layer}": found.l0,
                    f"dead/{layer}": (sae.silent > _DEAD_AFTER).sum().float(),
                }
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        rate = cast(float, self.settings.learning_rate)
        optimizer = torch.optim.Adam(self.parameters(), lr=rate, betas=(0.9, 0.999))

        warm = min(_WARM_UP, max(1, self.steps // 10))

        def schedule(number: int) -> float:
            return min(1.0, 2 * max(0.0, 1 - number / self.steps), (number + 1) / warm)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
