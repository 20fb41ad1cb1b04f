"""Lightning's trainer, from settings."""

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from sae_match.errors import UserError
from sae_match.settings.processes import Helpers
from sae_match.settings.schema import TrainerSettings

log = logging.getLogger(__name__)

# A process that waits for a slower one at the end of a pass waits this long. That one of them is gone is known at once.
_PATIENCE = timedelta(days=7)
_PROFILERS: dict[str, Callable[..., Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


class JobLauncher(_SubprocessScriptLauncher):
    """Starts the other processes of a job by what the job was told; Lightning repeats the command line.

    In a sweep, and in a process that a launcher of Hydra's has started, the command line is another one's.

    Args:
        launcher: What Lightning would have taken.
        program: Name of the program.
        settings: All that it was told.
    """

    def __init__(self, launcher: _SubprocessScriptLauncher, program: str, settings: object) -> None:
        super().__init__(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
        self.program, self.settings = program, settings

    def launch(self, function: Callable[..., Any], *args: Any, trainer: L.Trainer | None = None, **kwargs: Any) -> Any:
        """Start the other processes, then call the function."""
        cluster = self.cluster_environment
        if not cluster.creates_processes_externally:
            os.environ |= {
                "MASTER_ADDR": cluster.main_address,
                "MASTER_PORT": str(cluster.main_port),
                "NODE_RANK": str(cluster.node_rank()),
                "WORLD_SIZE": str(self.num_processes * self.num_nodes),
                # From here on Lightning takes the processes for started.
                "LOCAL_RANK": "0",
            }
            ranks = range(1, self.num_processes)
            helpers = Helpers(self.program, self.settings, [{**os.environ, "LOCAL_RANK": str(rank)} for rank in ranks])
            self.procs = helpers.running
        return super().launch(function, *args, trainer=trainer, **kwargs)


def open_trainer(
    settings: TrainerSettings, job: tuple[str, object] | None = None, *, folder: str | Path = ".", **arguments: Any
) -> L.Trainer:
    """A trainer with these settings and further arguments.

    Args:
        settings: Of the trainer.
        job: Program, and all its settings, that further processes are started with; else by Lightning's ways.
        folder: Of the run.
        arguments: Of Lightning's; those that settings give as well are theirs.

    Raises:
        UserError: If Lightning cannot run that way on this machine.
    """
    environment, accelerator = _environment(settings), _accelerator(settings.accelerator)
    given = {**arguments, **settings.given()}
    if settings.profiler is not None:
        given["profiler"] = _profiler(settings.profiler, folder)
    strategy = DDPStrategy(timeout=_PATIENCE) if settings.strategy == "ddp" else settings.strategy
    try:
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=settings.devices,
            strategy=strategy,
            precision=cast(Any, settings.precision),
            plugins=environment,
            default_root_dir=folder,
            **given,
        )
    except (MisconfigurationException, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"trainer settings: {' '.join(str(error).split())}") from error
    by_srun = any(isinstance(one, SLURMEnvironment) for one in environment)
    wanted = trainer.num_devices * trainer.num_nodes
    if by_srun and wanted != (tasks := _tasks()):
        raise UserError(f"srun has started {tasks} tasks for {wanted} processes: set trainer.devices={tasks}")
    launcher = trainer.strategy.launcher
    if job is not None and isinstance(launcher, _SubprocessScriptLauncher):
        trainer.strategy._launcher = JobLauncher(launcher, *job)
    return trainer


def _accelerator(name: str) -> str:
    """The accelerator to take by a name; none that has no float64, in which sums are made.

    Raises:
        UserError: If that is the one that is asked for.
    """
    if not MPSAccelerator.is_available() or CUDAAccelerator.is_available() or name not in ("auto", "gpu", "mps"):
        return name
    if name == "auto":
        log.warning("trainer.accelerator=auto takes the CPU: Apple's GPUs (mps) have no float64, which sums need")
        return "cpu"
    raise UserError(
        f"trainer.accelerator={name}: Apple's GPUs (mps) have no float64, which sums need; take cpu, or auto"
    )


def _profiler(name: str, folder: str | Path) -> Profiler:
    """A profiler that writes what it finds into the run's folder.

    Raises:
        UserError: If there is none of that name.
    """
    if name not in _PROFILERS:
        raise UserError(f"trainer.profiler={name}: there are {', '.join(_PROFILERS)}")
    return _PROFILERS[name](dirpath=folder, filename="profile")


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
