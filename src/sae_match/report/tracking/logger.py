"""A run's logger: opened, closed at the end whatever happens, and asked where to look.

`wandb` and Lightning's loggers take seconds to import. They are imported in the functions that need them, so that
programs that log nothing do without.
"""

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from sae_match.errors import UserError
from sae_match.owned import kept_in_record
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.strings import in_a_line, reason_of

__all__ = ["Logger", "Mode", "chosen_mode", "default_entity", "open_logger", "wandb_run", "where_to_look"]

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, WandbLogger
else:
    Logger = WandbLogger = Any

log = logging.getLogger(__name__)

Mode = Literal["online", "offline", "disabled", "shared"]
_WEAVE_SWITCH, _STAGING = "WANDB_DISABLE_WEAVE", "WANDB_DATA_DIR"
# Characters of why W&B does not start.
_LONGEST_REASON = 400


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

        # Lightning removes what an earlier run has logged there.
        with kept_in_record(*(folder / "csv" / name for name in ("metrics.csv", "hparams.yaml"))):
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
    return f"offline; upload with: wandb sync {shlex.quote(str(Path(run.dir).parent))}" if run.offline else str(run.url)


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
    with _environment(folder):
        try:
            try:
                with _without_advertisement():
                    run = _started(settings, folder, config)
            # Also what its settings refuse, which is no error of its own.
            except (wandb.Error, ValueError, OSError) as error:
                why = in_a_line(error, _LONGEST_REASON)
                raise UserError(
                    f"W&B cannot start: {why}; logger=offline, csv or none do without its server"
                ) from error
            run.define_metric("*", step_metric="trainer/global_step")
            yield WandbLogger(experiment=run)
        finally:
            # A run left open would be taken up by the next job of a sweep.
            _finish(folder, failing=sys.exc_info()[0] is not None)


def _finish(folder: Path, *, failing: bool) -> None:
    """End the W&B run; where that fails, say so: in the log alone, if something else has failed already.

    Raises:
        UserError: If it fails, and nothing else has.
    """
    import wandb

    try:
        wandb.finish()
    # Its network, its disk and its service fail in ways of their own, none of which may hide what the run has found.
    except Exception as error:
        if failing:
            log.warning("W&B cannot end: %s", reason_of(error))
        else:
            raise UserError(f"W&B cannot end: {reason_of(error)}; all results are in {folder}") from error


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """While the block runs, what W&B stages lies in the run's folder, and variables that are empty are not set."""
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    for name, value in before.items():
        if not value:
            del os.environ[name]
    staged = _STAGING not in os.environ
    if staged:
        # Else it lies in the user's home, and an offline run cannot be uploaded from elsewhere.
        os.environ[_STAGING] = str(folder.absolute() / "wandb")
    try:
        yield
    finally:
        if staged:
            os.environ.pop(_STAGING, None)
        for name, value in before.items():
            os.environ.setdefault(name, value)


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
        project=settings.chosen_project,
        name=settings.name,
        # Whole: a service that another program has started takes a relative one from its own folder.
        dir=folder.absolute(),
        entity=settings.entity,
        group=settings.group,
        job_type=settings.job_type,
        # None of ours leaves those of WANDB_TAGS.
        tags=settings.tags or None,
        config=config,
        mode=chosen_mode(settings),
        settings=wandb.Settings(silent=True),
    )
