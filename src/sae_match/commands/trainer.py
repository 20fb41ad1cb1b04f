"""Lightning's trainer, from settings."""

import os
from typing import Any, cast

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from sae_match.errors import UserError
from sae_match.settings.schema import TrainerSettings


def open_trainer(settings: TrainerSettings, **arguments: Any) -> L.Trainer:
    """A trainer with these settings and further arguments.

    Raises:
        UserError: If Lightning cannot run that way on this machine.
    """
    environment = _environment(settings)
    try:
        trainer = L.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=settings.strategy,
            precision=cast(Any, settings.precision),
            plugins=environment,
            **arguments,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UserError(f"trainer settings: {str(error).splitlines()[0]}") from error
    by_srun, wanted = any(isinstance(one, SLURMEnvironment) for one in environment), trainer.num_devices
    if by_srun and wanted != (tasks := _tasks()):
        raise UserError(f"srun has started {tasks} tasks for {wanted} processes: set trainer.devices={tasks}")
    return trainer


def refuse_idle_processes(trainer: L.Trainer, batches: int) -> None:
    """Check that each process has something to do: the others would wait for one that has nothing.

    Args:
        trainer: Of the run.
        batches: That are shared out.

    Raises:
        UserError: If there are more processes than batches.
    """
    if batches < trainer.world_size:
        raise UserError(
            f"{batches} batches for {trainer.world_size} processes, each of which needs one: "
            "lower text.batch or trainer.devices"
        )


def _environment(settings: TrainerSettings) -> list[Any]:
    """Who has started this process: inside a Slurm job that is Slurm only where `srun` has started several.

    Lightning takes every job with several tasks for its own, wants as many processes, and writes a checkpoint of the
    whole model when the job is about to end, which nothing here goes on from.

    Raises:
        UserError: If several tasks of `srun` would each do all of the work.
    """
    if "SLURM_NTASKS" not in os.environ or TorchElasticEnvironment.detect():
        return []
    if (tasks := _tasks()) == 1:
        return [LightningEnvironment()]
    if settings.strategy == "auto":
        raise UserError(
            f"srun has started {tasks} tasks, and each would do all of the work: take srun --ntasks=1, or trainer=ddp "
            f"and trainer.devices={tasks}"
        )
    return [SLURMEnvironment(auto_requeue=False)]


def _tasks() -> int:
    """Tasks that `srun` has started, this process among them; one where it has not."""
    told = os.environ.get("SLURM_STEP_NUM_TASKS", "")
    return int(told) if told.isascii() and told.isdecimal() else 1
