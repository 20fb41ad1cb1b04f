"""The processes that a trainer starts for one job: what they are told, and what they leave behind."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

# What Lightning tells its processes by; left over, the next job of a sweep would take itself for one of them.
_TOLD = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def one_job(words: Sequence[str] = ()) -> Iterator[None]:
    """While the block runs, a process that repeats this command runs this job of a sweep, not the sweep.

    Lightning starts the processes of `strategy=ddp` by the command line, and forwards `hydra.run.dir`
    only. Afterwards the environment is as it was, and no process group is left.

    Args:
        words: That stand in the command before what Hydra reads, and are missing in `sys.argv`.
    """
    environment = {name: os.environ.get(name) for name in _TOLD}
    arguments = sys.argv
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        sys.argv = _command_of_job()
        _set_run_folder(HydraConfig.get().runtime.output_dir)
    sys.argv = [sys.argv[0], *words, *sys.argv[1:]]
    try:
        yield
    finally:
        sys.argv = arguments
        _leave_process_group()
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _leave_process_group() -> None:
    """Leave no process group behind; a job that did not import torch has none."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_helper() -> bool:
    """Whether this process was started by another one to share its work."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0


def _command_of_job() -> list[str]:
    """The command that runs this job alone: the program's own flags, and the overrides of this job."""
    given = get_args_parser().parse_args(sys.argv[1:])
    flags = {"--config-path": given.config_path, "--config-name": given.config_name, "--config-dir": given.config_dir}
    named = [part for flag, value in flags.items() if value for part in (flag, value)]
    overrides = HydraConfig.get().overrides
    own = [override for override in overrides.hydra if not override.startswith("hydra.mode=")]
    # An experiment may be a sweep by itself.
    return [sys.argv[0], *named, *overrides.task, *own, "hydra.mode=RUN"]


def _set_run_folder(folder: str) -> None:
    """Make the folder of this job the one that Lightning forwards."""
    config = cast(DictConfig, HydraConfig.instance().cfg)
    OmegaConf.set_readonly(config.hydra, False)
    with open_dict(config.hydra):
        config.hydra.run.dir = folder
    OmegaConf.set_readonly(config.hydra, True)
