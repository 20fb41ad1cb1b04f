"""Training of SAEs for chosen layers of any causal language model, from text to files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from transformers import PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.formats import gemma_scope
from sae_match.saes.sae import SAE
from sae_match.text.documents import Part
from sae_match.text.settings import TextSettings
from sae_match.training.activations import ActivationBatches
from sae_match.training.checkpoints import Checkpoints, identity
from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.sae_training import SAETraining
from sae_match.training.saving import CHOICE, Measured, measure, no_text, save
from sae_match.training.text_stream import CropStream

#: The checkpoint of a training that is not over, below its destination.
CHECKPOINT = "training.ckpt"
_HELD_OUT_TOKENS = 200_000


@dataclass(frozen=True)
class SAERecipe:
    """A training of SAEs that can be run.

    Attributes:
        settings: Settled settings; see `sae_match.training.sae_settings.settled`.
        stream: The language model.
        tokenizer: Its tokenizer.
        text: Which datasets. Training reads their training part, and trained SAEs are measured on their
            fitting part.
        destination: Folder that SAEs are written to, and the checkpoint while training goes on.
        model_name: Name of the model, for the files.
    """

    settings: SAETrainingSettings
    stream: ResidualStream
    tokenizer: PreTrainedTokenizerBase
    text: TextSettings
    destination: Path
    model_name: str

    def __post_init__(self) -> None:
        if (choice := self.destination / CHOICE).exists():
            raise UserError(f"{self.destination} holds trained SAEs already ({choice}); choose another destination")
        config = self.stream.model.config.get_text_config()
        longest = getattr(config, "max_position_embeddings", None)
        if longest is not None and self.settings.context > longest:
            raise UserError(f"training.context={self.settings.context} is more than the model's {longest} positions")

    def checkpoints(self) -> Checkpoints:
        """The callback that writes this training's checkpoint, and knows whether there is one."""
        return Checkpoints(
            self.destination / CHECKPOINT,
            identity(self.settings, self.stream, self.text),
            self.settings.checkpoint_every,
        )

    def run(
        self, trainer: L.Trainer, checkpoints: Checkpoints, watch: Callable[[float], None]
    ) -> tuple[dict[int, Measured], dict[int, Path]]:
        """Train, measure and write, going on from the checkpoint if there is one.

        Args:
            trainer: Has `checkpoints` among its callbacks, and stops after `settings.steps`.
            checkpoints: Of this recipe.
            watch: Called with the filled share of the buffer of activations.

        Returns:
            What the SAE of each layer does on held-out text, and its file.

        Raises:
            UserError: If text, settings, checkpoint or start do not go together.
        """
        if trainer.world_size > 1:
            raise UserError(f"SAEs are trained on one device, got {trainer.world_size}; set trainer.devices=1")
        device = trainer.strategy.root_device
        self.stream.to(device)
        # Before hours are spent: what is wanted at the end must be there.
        if next(held_out := self._text("fitting"), None) is None:
            raise UserError(no_text(held_out))
        checkpoint = checkpoints.found()
        batches = ActivationBatches(self.stream, self._text("training"), self.settings, device, watch)
        module = self._module(batches, resumed=checkpoint is not None)
        trainer.fit(module, batches, ckpt_path=checkpoint, weights_only=True)
        saes = dict(zip(self.settings.layers, module.exported(), strict=True))
        measured = measure(saes, self.stream, self._text("fitting"), _HELD_OUT_TOKENS, device)
        for logger in trainer.loggers:
            logger.log_metrics(_by_name(measured), step=trainer.global_step)
            logger.save()
        files = save(saes, measured, self.destination, self.model_name)
        checkpoints.remove()
        return measured, files

    def _text(self, part: Part) -> CropStream:
        return CropStream(self.text, self.tokenizer, part, self.settings)

    def _module(self, batches: ActivationBatches, *, resumed: bool) -> SAETraining:
        if resumed:
            # Everything of it is read from the checkpoint.
            layers = len(self.settings.layers)
            return SAETraining(self.settings, torch.zeros(layers, self.stream.d_in), torch.ones(layers))
        module = SAETraining(self.settings, *batches.moments())
        if self.settings.start_from is not None:
            module.take_over([self._start(self.settings.start_from, layer) for layer in self.settings.layers])
        return module

    def _start(self, folder: str, layer: int) -> SAE:
        sae = gemma_scope.load(folder, layer=layer, **gemma_scope.only_one(folder, layer, self.settings.d_sae))
        if sae.d_in != self.stream.d_in:
            raise UserError(f"the SAE of layer {layer} in {folder} reads {sae.d_in} dimensions, not {self.stream.d_in}")
        return sae


def _by_name(measured: Mapping[int, Measured]) -> dict[str, float]:
    """What was measured, as loggers take it."""
    return {
        f"held_out/{name}/{layer}": float(getattr(found, name))
        for layer, found in measured.items()
        for name in ("l0", "explained_variance", "dead")
    }
