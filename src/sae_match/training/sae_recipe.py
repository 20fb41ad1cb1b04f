"""Training of SAEs for chosen layers of any causal language model, from text to files."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from sae_match.errors import UserError
from sae_match.model.fingerprint import fingerprint
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.formats import gemma_scope
from sae_match.saes.manifest import recorded_site
from sae_match.saes.sae import SAE
from sae_match.saes.sites import Site, checked_site
from sae_match.text.documents import Part
from sae_match.text.settings import TextSettings
from sae_match.training.checkpoints import Checkpoints, identity
from sae_match.training.collecting.activations import ActivationBatches
from sae_match.training.collecting.collected import FOLDER, Collected, remove_collected
from sae_match.training.collecting.enough_text import refuse_short_text
from sae_match.training.collecting.text_stream import CropStream
from sae_match.training.finished import Finished, finished, note_finished
from sae_match.training.input_scaling import InputScaling, is_usual
from sae_match.training.measuring import by_name, held_out_values, measure
from sae_match.training.sae_settings import SAETrainingSettings
from sae_match.training.sae_training import SAETraining
from sae_match.training.saving import save

#: The checkpoint of a training that is not over, below its destination.
CHECKPOINT = "training.ckpt"
#: What is shown while activations are collected.
COLLECTING = "collecting activations"
#: Tokens that trained SAEs are measured on, and that they are looked at meanwhile.
HELD_OUT_TOKENS, _LOOKED_AT = 200_000, 4096
#: Activations that show where thresholds are to begin.
_SAMPLE = 8192
# Crops among which one is picked where the order matters little.
_FEW = 256


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
        config = self.stream.model.config.get_text_config()
        longest = getattr(config, "max_position_embeddings", None)
        if longest is not None and self.settings.context > longest:
            raise UserError(f"training.context={self.settings.context} is more than the model's {longest} positions")

    @property
    def site(self) -> Site:
        """Where in their layers the SAEs read."""
        return checked_site(self.settings.site)

    @property
    def d_in(self) -> int:
        """Width of what they read."""
        return self.stream.width(self.site)

    def checkpoints(self) -> Checkpoints:
        """The callback that writes this training's checkpoint, and knows whether there is one."""
        return Checkpoints(self.destination / CHECKPOINT, self.identity(), self.settings.checkpoint_every)

    def identity(self) -> dict[str, str]:
        """What determines this training."""
        return identity(self.settings, self.stream, self.text)

    def finished(self) -> Finished | None:
        """What this very training left at the destination, if it is over.

        Raises:
            UserError: If the destination holds the SAEs of another training.
        """
        return finished(self.destination, self.identity())

    def run(
        self,
        trainer: L.Trainer,
        checkpoints: Checkpoints,
        watch: Callable[[str, int, int], None],
    ) -> Finished:
        """Train, measure and write, going on from the checkpoint if there is one.

        Args:
            trainer: Has `checkpoints` among its callbacks, and stops after `settings.steps`.
            checkpoints: Of this recipe.
            watch: Called with what is being done, how much of it is, and of how much.

        Returns:
            What the SAE of each layer does on held-out text, and its file.

        Raises:
            UserError: If text, settings, checkpoint or start do not go together, or the training goes astray.
        """
        if trainer.world_size > 1:
            raise UserError(f"SAEs are trained on one device, got {trainer.world_size}; set trainer.devices=1")
        device = trainer.strategy.root_device
        self.stream.to(device)
        # Before hours are spent: what is wanted at the end must be there, and so must the text.
        held_out = held_out_values(
            self.stream, self._text("fitting", _FEW), self.settings.layers, _LOOKED_AT, self.site
        )
        checkpoint = checkpoints.found()
        if checkpoint is None:
            counted = self._text("training", _FEW)
            refuse_short_text(self.text, counted, self.settings, partial(watch, "counting the text"))
        batches = ActivationBatches(
            self.stream, self._text("training"), self.settings, device, partial(watch, COLLECTING), self._disk
        )
        module = self._module(batches, held_out.to(device), resumed=checkpoint is not None)
        trainer.fit(module, batches, ckpt_path=checkpoint, weights_only=True)
        saes = dict(zip(self.settings.layers, module.exported(), strict=True))
        text, watch_measuring = self._text("fitting", _FEW), partial(watch, "measuring")
        measured = measure(saes, self.stream, text, HELD_OUT_TOKENS, device, watch_measuring, self.site)
        for logger in trainer.loggers:
            logger.log_metrics(by_name(measured), step=trainer.global_step)
            logger.save()
        files = save(saes, measured, self.destination, self.model_name, self.site)
        done = note_finished(self.destination, self.identity(), measured, files)
        checkpoints.remove()
        if self.settings.activations is None:
            remove_collected(self.destination / FOLDER)
        return done

    def _disk(self, before: Mapping[str, Any]) -> Collected:
        settings = self.settings
        own = ("context", "crops", "shuffle", "seed", "layers")
        from_what = {
            **{name: getattr(settings, name) for name in own},
            "model": fingerprint(self.stream),
            "text": {name: asdict(source) for name, source in self.text.datasets.items()},
            "bos": self.text.bos,
            "before": before,
            # Residuals are named as earlier versions named them, so that what those collected is found.
            **({} if self.site == "residual" else {"site": self.site}),
        }
        folder = Path(settings.activations or self.destination / FOLDER).expanduser()
        return Collected(folder, from_what, len(settings.layers), self.d_in)

    def _text(self, part: Part, shuffle: int | None = None) -> CropStream:
        """Crops of a part of the text; what is only counted or measured needs no long shuffling, and starts sooner."""
        settings = self.settings if shuffle is None else replace(self.settings, shuffle=shuffle)
        return CropStream(self.text, self.tokenizer, part, settings)

    def _module(
        self, batches: ActivationBatches, held_out: Float[Tensor, "layers tokens d_in"], *, resumed: bool
    ) -> SAETraining:
        layers = self.settings.layers
        if resumed:
            # Everything of it is read from the checkpoint.
            return SAETraining(self.settings, [InputScaling.blank(self.d_in)] * len(layers), held_out)
        present = batches.present()
        scalings = [InputScaling.of(x, layer) for x, layer in zip(present, layers, strict=True)]
        module = SAETraining(self.settings, scalings, held_out)
        samples = [
            part[is_usual(part.float(), scaling.longest)]
            for scaling, part in zip(scalings, present[:, :_SAMPLE], strict=True)
        ]
        start = self.settings.start_from
        module.start(samples, None if start is None else [self._start(start, layer) for layer in layers])
        return module

    def _start(self, folder: str, layer: int) -> SAE:
        if (site := recorded_site(Path(folder))) not in (None, self.site):
            raise UserError(f"the SAEs in {folder} read the site {site}, those that are to be trained {self.site}")
        sae = gemma_scope.load(folder, layer=layer, **gemma_scope.only_one(folder, layer, self.settings.d_sae))
        if sae.d_in != self.d_in:
            raise UserError(f"the SAE of layer {layer} in {folder} reads {sae.d_in} dimensions, not {self.d_in}")
        return sae
