"""What happens when all jobs of a sweep have ended: those that failed are named."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sae_match.owned import is_made_here
from sae_match.report.sweeps import ERROR_FILE


class FailedJobs(Callback):
    """Hydra callback that ends a sweep with status 1 and a line for each job that failed."""

    def on_multirun_start(self, config: DictConfig, **_kwargs: Any) -> None:
        """Forget what failed in an earlier sweep in this folder."""
        for file in _errors(config):
            file.unlink()

    def on_multirun_end(self, config: DictConfig, **_kwargs: Any) -> None:
        """Name the jobs that failed, if there are any."""
        failed = [f"{file.parent}: {file.read_text(encoding='utf-8').strip()}" for file in _errors(config)]
        if failed:
            lines = "\n  ".join(failed)
            raise SystemExit(f"error: {len(failed)} of the sweep's jobs failed; the others are done\n  {lines}")


def _errors(config: DictConfig) -> list[Path]:
    """What jobs of ours have left; a file of that name elsewhere is somebody else's."""
    return sorted(file for file in Path(config.hydra.sweep.dir).rglob(ERROR_FILE) if is_made_here(file.parent))
