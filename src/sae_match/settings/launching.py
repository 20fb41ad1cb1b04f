"""What one job of a sweep may take of the machine it runs on."""

import os
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sae_match.errors import UserError

if TYPE_CHECKING:
    import torch

#: Of the memory that a job asked for; the rest is for the SAEs and what Python takes.
_SHARE_OF_RESERVED = 0.6


def job_memory(device: str) -> float | None:
    """Memory budget, in gigabytes, of a matching in this job; none where it has the machine to itself.

    A launcher's `mem_gb` is what a job has, and a matching may take a part of it. Of `n` jobs that
    share a machine each takes the `n + 1`-th part of what is free when it starts: one part is left for
    the SAEs. `n` is joblib's `n_jobs`, or the number of cores where a launcher does not say.

    Args:
        device: The matcher's.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    # Imported here: a program that does not sweep needs no torch until its settings are checked.
    from sae_match.matching.solver.planning import GIGABYTE, free_memory

    launcher, where = HydraConfig.get().launcher, _device(device)
    if where.type == "cpu" and launcher.get("mem_gb") is not None:
        return float(launcher.mem_gb) * _SHARE_OF_RESERVED
    jobs = _jobs_at_once(launcher)
    return free_memory(where) / GIGABYTE / (jobs + 1) if jobs > 1 else None


def refuse_processes_of_a_worker(strategy: str, devices: object) -> None:
    """Check that a job of a sweep that wants several processes can start them.

    They are started by this process's command line, and a process that a launcher has started has the launcher's. Where
    Slurm starts them itself, with `tasks_per_node`, there is nothing to start.

    Args:
        strategy: Lightning's.
        devices: Likewise, a number or what Lightning takes in its place.

    Raises:
        UserError: If they cannot be started.
    """
    several = strategy != "auto" or (str(devices).isdecimal() and int(str(devices)) > 1)
    if not several or not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    launcher = HydraConfig.get().launcher
    beside = "n_jobs" in launcher or "submitit_folder" in launcher
    if beside and (launcher.get("tasks_per_node") or 1) == 1:
        raise UserError(
            f"trainer.strategy={strategy} trainer.devices={devices} starts processes by the command line, and a job of "
            "this hydra/launcher has another one: take hydra/launcher=basic, or trainer.strategy=auto trainer.devices=1"
        )


def _jobs_at_once(launcher: DictConfig) -> int:
    cores = os.cpu_count() or 1
    if "n_jobs" in launcher:
        # As joblib counts: -1 is all cores, -2 all but one.
        return int(launcher.n_jobs) if launcher.n_jobs > 0 else max(1, cores + 1 + int(launcher.n_jobs))
    return cores if "submitit_folder" in launcher else 1


def _device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"matcher.device={name}: {str(error).splitlines()[0]}") from error
