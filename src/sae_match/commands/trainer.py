"""Lightning's trainer, from settings."""

from typing import Any, cast

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

from sae_match.errors import UserError
from sae_match.settings.schema import TrainerSettings


def open_trainer(settings: TrainerSettings, **arguments: Any) -> L.Trainer:
    """A trainer with these settings and further arguments.

    Raises:
        UserError: If Lightning cannot run that way on this machine.
    """
    try:
        return L.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=settings.strategy,
            precision=cast(Any, settings.precision),
            **arguments,
        )
    except (MisconfigurationException, ValueError) as error:
        raise UserError(f"trainer settings: {str(error).splitlines()[0]}") from error
