"""What happens when all jobs of a sweep have ended: those that are done are compared."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from sae_match.errors import UserError
from sae_match.owned import claim, refuse_foreign
from sae_match.report.sweeps import COMPARED, COMPARISON
from sae_match.report.tracking.settings import LoggerSettings


class SweepComparison(Callback):
    """Hydra callback that joins the finished validations of a sweep into `comparison/` in its folder."""

    def on_multirun_start(self, config: DictConfig, **_kwargs: Any) -> None:
        """Refuse, before any job, a folder that holds something else where the comparison will be."""
        try:
            refuse_foreign(Path(config.hydra.sweep.dir) / COMPARISON, COMPARED, "hydra.sweep.dir")
        except UserError as error:
            raise SystemExit(f"error: {error}") from error

    def on_multirun_end(self, config: DictConfig, **_kwargs: Any) -> None:
        """Compare what has been found, also where some jobs failed."""
        if config.get("check"):
            return
        # Imported here: Hydra makes this object before anything else, whether or not there is a sweep.

        from sae_match.report.comparison.comparing import compare
        from sae_match.terminal import Terminal

        folder = Path(config.hydra.sweep.dir)
        try:
            logger = OmegaConf.to_object(config.logger)
            if not isinstance(logger, LoggerSettings):
                raise TypeError(f"logger composes to {type(logger).__name__}")
            print()
            claim(folder / COMPARISON, COMPARED, "hydra.sweep.dir")
            compare([folder], folder / COMPARISON, Terminal(), logger)
        except UserError as error:
            print(f"error: comparison: {error}", file=sys.stderr)
