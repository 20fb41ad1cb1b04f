"""What happens when all jobs of a sweep have ended: those that failed are named, the others compared."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from sae_match.errors import UserError
from sae_match.report.sweeps import COMPARISON, ERROR_FILE


class FailedJobs(Callback):
    """Hydra callback that ends a sweep with status 1 and a line for each job that failed."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget what failed in an earlier sweep in this folder."""
        for file in _errors(config):
            file.unlink()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Name the jobs that failed, if there are any."""
        failed = [f"{file.parent}: {file.read_text(encoding='utf-8').strip()}" for file in _errors(config)]
        if failed:
            lines = "\n  ".join(failed)
            raise SystemExit(f"error: {len(failed)} of the sweep's jobs failed; the others are done\n  {lines}")


class SweepComparison(Callback):
    """Hydra callback that joins the finished validations of a sweep into `comparison/` in its folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare what has been found, also where some jobs failed."""
        if config.get("check"):
            return
        # Not before: every start of a program makes its callbacks, and drawing takes a second to import.
        from rich.console import Console  # noqa: PLC0415

        from sae_match.report.comparing import compare  # noqa: PLC0415
        from sae_match.report.wandb_logging import LoggerSettings  # noqa: PLC0415

        folder = Path(config.hydra.sweep.dir)
        try:
            logger = OmegaConf.to_object(config.logger)
            if not isinstance(logger, LoggerSettings):
                raise TypeError(f"logger composes to {type(logger).__name__}")
            print()
            compare([folder], folder / COMPARISON, Console(), logger)
        except UserError as error:
            print(f"error: comparison: {error}", file=sys.stderr)


def _errors(config: DictConfig) -> list[Path]:
    return sorted(Path(config.hydra.sweep.dir).rglob(ERROR_FILE))
