"""Turn an entry point that takes typed settings into a Hydra program."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from sae_match import bundled
from sae_match.errors import UserError, where_stopped
from sae_match.homes import have_a_home
from sae_match.settings.configs import make_groups_known
from sae_match.settings.help import help_on
from sae_match.settings.jobs import INTERRUPTED, TERMINATED, job_fact, noted_failure
from sae_match.settings.launching import job_gpus, job_memory
from sae_match.settings.processes import is_helper, one_job
from sae_match.settings.refusals import instead_of, refused_in_one_line
from sae_match.strings import visible
from sae_match.terminal import is_heard, survive_any_encoding, unheard

log = logging.getLogger(__name__)

# Seconds after which a signal that was dropped is sent again.
_LATER = 0.02
_SLURM = "SLURM_JOB_ID"
# Libraries whose notices say nothing of the run: a cache of fonts that was made, counts of what torch has traced.
_TALKATIVE = (
    *("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.distributed"),
    *("httpx", "httpx2", "matplotlib", "torch._subclasses.fake_tensor"),
)
_GOES_ON = "the same command goes on from what is finished"

Settings = TypeVar("Settings")


def register(**schemas: type) -> None:
    """Make schemas, by name, and the resolvers of the configs known to Hydra.

    These are `${bundled:…}`, `${help:…}`, `${job:…}`, `${job_gpus:…}` and `${job_memory:…}`. May be called again.
    """
    store = ConfigStore.instance()
    for name, schema in schemas.items():
        store.store(group="schema", name=name, node=schema)
    make_groups_known()
    OmegaConf.register_new_resolver("bundled", bundled.path, replace=True)
    OmegaConf.register_new_resolver("help", help_on, replace=True)
    OmegaConf.register_new_resolver("job", job_fact, replace=True)
    OmegaConf.register_new_resolver("job_gpus", job_gpus, replace=True)
    OmegaConf.register_new_resolver("job_memory", job_memory, replace=True)


def typed(config: DictConfig, kind: type[Settings]) -> Settings:
    """The settings that a composed config stands for.

    Raises:
        UserError: If there is no such setting as one of its keys, or a value is missing, empty or cannot be resolved.
    """
    try:
        for setting, known in _unknown_settings(config):
            raise UserError(f"there is no setting {setting}; {instead_of(setting, known, root=kind)}")
        for setting in _empty_texts(config):
            raise UserError(f"{setting} is empty; give it a value: {setting}=…")
        settings = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} is not set; give it a value: {error.full_key}=…") from error
    except OmegaConfBaseException as error:
        where = f"{error.full_key}: " if error.full_key else ""
        raise UserError(f"{where}{str(error).splitlines()[0]}") from error
    if not isinstance(settings, kind):
        raise TypeError(f"the config composes to {type(settings).__name__}, not {kind.__name__}")
    return settings


def _unknown_settings(config: DictConfig, place: str = "") -> Iterator[tuple[str, list[str]]]:
    """Keys that no dataclass has, which `+` lets pass, and what there is instead."""
    kind = OmegaConf.get_type(config)
    known = [field.name for field in fields(kind)] if is_dataclass(kind) else None
    for key in map(str, config):
        if known is not None and key not in known:
            yield f"{place}{key}", known
        if not OmegaConf.is_missing(config, key) and isinstance(config[key], DictConfig):
            yield from _unknown_settings(config[key], f"{place}{key}.")


def _empty_texts(config: DictConfig, place: str = "") -> Iterator[str]:
    """Settings that are texts without a character, as `model.source=` leaves them, and are not so by default."""
    kind = OmegaConf.get_type(config)
    meant = {one.name for one in fields(kind) if one.default == ""} if is_dataclass(kind) else set()
    for key in map(str, config):
        value = None if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key) else config[key]
        if isinstance(value, DictConfig):
            yield from _empty_texts(value, f"{place}{key}.")
        elif value == "" and key not in meant:
            yield f"{place}{key}"


def entry_point(
    config: Path, kind: type[Settings], **choices: type
) -> Callable[[Callable[[Settings], Any]], Callable[[], None]]:
    """Decorate `main(settings)` into a command-line program.

    What `main` returns is what a sweeper of Hydra's optimises. A `UserError` ends the program with one line on standard
    error and exit status 1.

    Args:
        config: The primary config; its schema has the file's name.
        kind: What it composes to.
        choices: Further schemas by name, of groups whose choices differ in kind.
    """
    schemas = {config.stem: kind, **choices}
    register(**schemas)
    homeless = have_a_home()

    def decorate(main: Callable[[Settings], Any]) -> Callable[[], None]:
        @hydra.main(version_base="1.3", config_path=str(config.parent), config_name=config.stem)
        def program(composed: DictConfig) -> Any:
            # Again: a process that a launcher starts knows no resolvers.
            register(**schemas)
            quieten()
            if homeless is not None:
                log.info(homeless)
            with noted_failure(), exit_statuses(), heeding_sigterm(), one_job():
                return main(typed(composed, kind))
            # A job of a sweep that failed has no objective.
            return None

        def started() -> None:
            survive_any_encoding()
            with interrupted_again(), _quiet_if_unheard(), _interrupted_in_one_line(), refused_in_one_line(config):
                cast(Callable[[], None], program)()

        return started

    return decorate


@contextmanager
def exit_statuses() -> Iterator[None]:
    """Whatever ends the block early ends the program: with a line, or with the status that says how."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"error: {visible(error)}") from error
    except SystemExit as stop:
        status = _status(stop)
        if status == TERMINATED:
            log.info("told to end%s; %s", where_stopped(stop), _GOES_ON)
        if status == INTERRUPTED and isinstance(stop.__context__, KeyboardInterrupt):
            log.info("interrupted%s; %s", where_stopped(stop), _GOES_ON)
        raise SystemExit(status) from stop
    except KeyboardInterrupt as stop:
        log.info("interrupted%s; %s", where_stopped(stop), _GOES_ON)
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def _interrupted_in_one_line() -> Iterator[None]:
    """Ctrl-C before there is anything to go on from, while configs are composed, or after all is done."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def _quiet_if_unheard() -> Iterator[None]:
    """End without a trace where nobody reads on what is printed, as after `| head`."""
    try:
        yield
    except BrokenPipeError:
        if sys.stdout is not None and is_heard(1):
            # Another pipe than that.
            raise
        raise SystemExit(unheard()) from None
    # Written at the very end otherwise, when nothing can be caught any more.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise SystemExit(unheard()) from None


@contextmanager
def interrupted_again() -> Iterator[None]:
    """Send a signal once more whose exception Python has dropped, as it does where a signal meets a callback.

    Loops that are loaded from numba's cache, and weak references that end, call back from C, where no exception gets
    through: without this, one Ctrl-C in a hundred at a program's start is not heard.
    """
    before = sys.unraisablehook

    def again(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            number = signal.SIGINT
        elif isinstance(dropped.exc_value, SystemExit) and dropped.exc_value.code == TERMINATED:
            number = signal.SIGTERM
        else:
            before(dropped)
            return
        # Not from here, where it would be dropped as well.
        later = threading.Timer(_LATER, os.kill, (os.getpid(), number))
        later.daemon = True
        later.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def heeding_sigterm() -> Iterator[None]:
    """Let a SIGTERM end the block as an interruption does: at once, wherever it is, and what is under way is tidied up.

    Lightning's trainer, which by itself heeds it at the end of a batch only, calls what it finds in place. In a job of
    Slurm's a SIGUSR1 says the same: it is what jobs are told with that ask to be warned (`--signal=USR1@90`).
    """

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        # Only the main thread hears of signals.
        yield
        return
    numbers = [signal.SIGTERM, *([signal.SIGUSR1] if _SLURM in os.environ else [])]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _status(stop: SystemExit) -> str | int | None:
    """Exit status of a program that a trainer may have ended: what it reports hides why."""
    if isinstance(stop.__context__, KeyboardInterrupt):
        return INTERRUPTED
    # A trainer that was told to end (SIGTERM) leaves without a status: the work is not done.
    return TERMINATED if stop.code is None else stop.code


def without_bars() -> None:
    """Have `transformers` show no bars of its own, where it is imported: importing it takes seconds."""
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()


def quieten() -> None:
    """Drop the notices that libraries print on every run and no user can act on; survive any encoding."""
    # Again: a process that a launcher starts, and log files, are new.
    survive_any_encoding()
    if is_helper():
        # The first process says all that there is to say.
        logging.getLogger().setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.(pytorch|fabric).*")
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
