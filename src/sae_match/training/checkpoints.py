"""Checkpoints of a training of SAEs: written whole, and never taken up by a training that differs."""

import logging
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch

from sae_match.errors import UserError
from sae_match.files import refuse_damaged_archive, remove_leftovers, written_whole
from sae_match.model.fingerprint import fingerprint
from sae_match.model.residual_stream import ResidualStream
from sae_match.text.settings import TextSettings
from sae_match.training.sae_settings import SAETrainingSettings

log = logging.getLogger(__name__)

_KEY = "sae_match"
#: What is not said of trainings of earlier versions, which knew of nothing else.
UNSAID: Mapping[str, str] = {"training.site": "residual"}
#: Settings that change nothing in what is trained.
_WITHOUT_EFFECT = ("checkpoint_every", "activations")


def identity(settings: SAETrainingSettings, stream: ResidualStream, text: TextSettings) -> dict[str, str]:
    """What determines a training, by name, as a user would set it."""
    own = {f"training.{name}": str(value) for name, value in asdict(settings).items() if name not in _WITHOUT_EFFECT}
    sources = {f"text.datasets.{name}": str(asdict(source)) for name, source in text.datasets.items()}
    return {**own, **sources, "text.bos": str(text.bos), "model": fingerprint(stream)}


class Checkpoints(L.Callback):
    """Keeps one checkpoint up to date, from which the same training goes on.

    Args:
        file: Where it is.
        identity: What determines the training; see `identity`.
        every: Steps between two checkpoints; 0 for none.
    """

    def __init__(self, file: Path, identity: Mapping[str, str], every: int) -> None:
        self.file, self.identity, self.every = file, dict(identity), every

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Write a checkpoint when it is time, and after the last step."""
        if self.every and (trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps):
            with written_whole(self.file) as temporary:
                trainer.save_checkpoint(temporary, weights_only=False)

    def on_save_checkpoint(self, _trainer: L.Trainer, _module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put into the checkpoint what training it belongs to."""
        checkpoint[_KEY] = self.identity

    def on_exception(self, trainer: L.Trainer, _module: L.LightningModule, exception: BaseException) -> None:
        """Say how an interrupted training goes on."""
        if isinstance(exception, KeyboardInterrupt):
            where = f"goes on from {self.file}" if self.file.exists() else "starts anew, as there is no checkpoint yet"
            log.info("interrupted after step %d; the same command %s", trainer.global_step, where)

    def found(self) -> Path | None:
        """The checkpoint of this very training, or none where there is no file.

        Raises:
            UserError: If the file is damaged, or belongs to another training.
        """
        remove_leftovers(self.file)
        if not self.file.exists():
            return None
        theirs = {**UNSAID, **self._read()}
        for name in sorted(theirs.keys() | self.identity.keys()):
            if theirs.get(name) != self.identity.get(name):
                raise UserError(
                    f"{self.file} is of another training: {name} was {theirs.get(name)} there and is "
                    f"{self.identity.get(name)} here; choose another destination, or remove the file"
                )
        return self.file

    def remove(self) -> None:
        """Remove the checkpoint: the training is over."""
        self.file.unlink(missing_ok=True)

    def _read(self) -> Mapping[str, str]:
        remedy = "remove it, or choose another destination"
        try:
            # A training that went on from a flipped bit would end elsewhere.
            refuse_damaged_archive(self.file)
            whole = torch.load(self.file, map_location="cpu", weights_only=True, mmap=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise UserError(f"{self.file} is no checkpoint that can be read; {remedy}") from error
        if not isinstance(whole, dict) or not isinstance(whole.get(_KEY), dict):
            raise UserError(f"{self.file} is no checkpoint of a training of SAEs; {remedy}")
        found: Mapping[str, str] = whole[_KEY]
        return found
