"""A run's logger: opened, closed at the end whatever happens, and asked where to look.

`wandb` and Lightning's loggers take seconds to import. They are imported in the functions that need them, so that
programs that log nothing do without.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from sae_match.errors import UserError
from sae_match.report.tracking.settings import LoggerSettings

__all__ = ["Logger", "Mode", "chosen_mode", "default_entity", "open_logger", "wandb_run", "where_to_look"]

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, WandbLogger
else:
    Logger = WandbLogger = Any

Mode = Literal["online", "offline", "disabled", "shared"]
_WEAVE_SWITCH = "WANDB_DISABLE_WEAVE"


@contextmanager
def open_logger(settings: LoggerSettings, folder: Path, config: dict[str, Any]) -> Iterator[Logger | None]:
    """Lightning logger of a run, closed at the end whatever happens; none where nothing is logged.

    Args:
        settings: What is logged to.
        folder: Of the run.
        config: Its settings, which are logged.

    Raises:
        UserError: If W&B cannot start.
    """
    if settings.kind == "none":
        yield None
    elif settings.kind == "csv":
        from lightning.pytorch.loggers import CSVLogger

        yield CSVLogger(folder, name="csv", version="")
    else:
        with _wandb_logger(settings, folder, config) as logger:
            yield logger


def wandb_run(logger: Logger | None) -> Any:
    """The W&B run (`wandb.Run`) that a logger logs to; none where it logs elsewhere or nowhere."""
    if logger is None:
        return None
    from lightning.pytorch.loggers import WandbLogger

    return logger.experiment if isinstance(logger, WandbLogger) else None


def where_to_look(logger: Logger | None) -> str | None:
    """One line that says where a W&B run is, and how an offline one is uploaded."""
    run = wandb_run(logger)
    if run is None:
        return None
    if run.disabled:
        return "disabled"
    return f"offline; upload with: wandb sync {Path(run.dir).parent}" if run.offline else str(run.url)


def chosen_mode(settings: LoggerSettings) -> Mode:
    """Mode that W&B is started in, found without asking the user or the network."""
    mode = os.environ.get("WANDB_MODE") or settings.mode
    if mode != "auto":
        return cast(Mode, mode)
    import wandb

    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def default_entity() -> str:
    """Whose projects they are that W&B has credentials for."""
    import wandb

    return str(wandb.Api().default_entity)


@contextmanager
def _wandb_logger(settings: LoggerSettings, folder: Path, config: dict[str, Any]) -> Iterator[WandbLogger | None]:
    """A W&B run of the first process; the others have none."""
    import wandb
    from lightning.pytorch.loggers import WandbLogger
    from lightning.pytorch.utilities import rank_zero_only

    if getattr(rank_zero_only, "rank", 0) > 0:
        yield None
        return
    try:
        try:
            with _without_advertisement():
                run = _started(settings, folder, config)
        except wandb.Error as error:
            raise UserError(f"W&B cannot start: {error}; logger=offline, csv or none do without its server") from error
        run.define_metric("*", step_metric="trainer/global_step")
        yield WandbLogger(experiment=run)
    finally:
        # A run left open would be taken up by the next job of a sweep.
        wandb.finish()


@contextmanager
def _without_advertisement() -> Iterator[None]:
    """Keep W&B from advertising Weave to every program that has imported a client such as openai.

    Their switch turns Weave off altogether, so it is left alone where the program uses Weave or the user has set it.
    """
    if "weave" in sys.modules or _WEAVE_SWITCH in os.environ:
        yield
        return
    os.environ[_WEAVE_SWITCH] = "true"
    try:
        yield
    finally:
        os.environ.pop(_WEAVE_SWITCH, None)


def _started(settings: LoggerSettings, folder: Path, config: dict[str, Any]) -> Any:
    import wandb

    return wandb.init(
        project=settings.project,
        name=settings.name,
        # Whole: a service that another program has started takes a relative one from its own folder.
        dir=folder.absolute(),
        entity=settings.entity,
        group=settings.group,
        job_type=settings.job_type,
        tags=settings.tags,
        config=config,
        mode=chosen_mode(settings),
        settings=wandb.Settings(silent=True),
    )
