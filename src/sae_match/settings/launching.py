"""What one job of a sweep may take of the machine it runs on."""

import os
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig

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


def job_gpus(accelerator: str, devices: object) -> int | None:
    """GPUs that a job asks Slurm for: those that its trainer will use; none where that is not said.

    Args:
        accelerator: Lightning's.
        devices: Likewise, a number or what Lightning takes in its place.
    """
    if accelerator not in ("gpu", "cuda"):
        return None
    if isinstance(devices, ListConfig | list | tuple):
        return len(devices)
    return int(str(devices)) if str(devices).isdecimal() else None


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
