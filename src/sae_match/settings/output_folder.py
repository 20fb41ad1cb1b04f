"""A clear word on an output folder that cannot be written, before Hydra stumbles over it."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sae_match.files import make_writable


class OutputFolderCheck(Callback):
    """Hydra callback that makes the output folder of a run or sweep, or ends the program."""

    def on_run_start(self, config: DictConfig, **_kwargs: Any) -> None:
        """Check the folder of a single run."""
        _make(Path(config.hydra.run.dir), "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **_kwargs: Any) -> None:
        """Check the folder that holds the jobs of a sweep."""
        _make(Path(config.hydra.sweep.dir), "hydra.sweep.dir")


def _make(folder: Path, option: str) -> None:
    try:
        make_writable(folder)
    except OSError as error:
        raise SystemExit(
            f"error: cannot write the output folder {folder}: {error.strerror or error}; "
            f"choose another with {option}=DIR"
        ) from error
