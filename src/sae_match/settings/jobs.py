"""What a job is called where runs are listed, and what becomes of one that fails in a sweep."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import format_exception

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import OmegaConf

from sae_match.errors import UserError
from sae_match.files import written_whole
from sae_match.owned import refuse_foreign
from sae_match.report.foreign import at, settings_in
from sae_match.report.sweeps import ERROR_FILE, group_name, sweep_folder
from sae_match.terminal import UNHEARD
from sae_match.version import write_provenance

log = logging.getLogger(__name__)

# What a shell reports for a program that ended with Ctrl-C, or was told to end.
INTERRUPTED, TERMINATED = 130, 143
# Overrides that say where and how, not what: no part of a run's name.
_ASIDE = ("cache_dir", "logger", "output_dir", "trainer")
_LONGEST = 120


def job_fact(what: str) -> str | None:
    """What `${job:folder}`, `group`, `name` and `type` stand for; none where there is nothing to say.

    `folder` is that of the job, or, where none is run, that of a single run as it would be now; `group` is the same
    for all jobs of a sweep, from its folder; `name` has the overrides of this job, in a sweep those that it varies;
    `type` is the program.

    Raises:
        UserError: If there is no such fact.
    """
    facts: dict[str, Callable[[], str | None]] = {"group": _group, "name": _name, "type": _type, "folder": _folder}
    if what not in facts:
        raise UserError(f"${{job:{what}}}: there are {', '.join(facts)}")
    return facts[what]() if HydraConfig.initialized() else None


@contextmanager
def noted_failure() -> Iterator[None]:
    """In a sweep, a job that fails says so and leaves why in its folder, and the next job begins.

    An interrupted job ends the sweep.
    """
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        with _kept_in_log():
            yield
        return
    file = Path(HydraConfig.get().runtime.output_dir) / ERROR_FILE
    try:
        refuse_foreign(file.parent, [ERROR_FILE], "hydra.sweep.dir")
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    file.unlink(missing_ok=True)
    try:
        yield
    except SystemExit as stop:
        if stop.code in (INTERRUPTED, TERMINATED, UNHEARD):
            raise
        if stop.code not in (0, None):
            said = stop.code if isinstance(stop.code, str) else f"ended with status {stop.code}"
            log.error(said)
            _note(file, said)
    # Whatever is wrong with one job, the others are to run: the log has the trace, the job's folder the reason, and
    # the sweep ends with status 1.
    except Exception as error:
        log.exception("this job failed")
        _note(file, f"{type(error).__name__}: {error}")


@contextmanager
def _kept_in_log() -> Iterator[None]:
    """What ends the block as an error stands in the log file too; on the terminal it is said by whoever ends."""
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.code, str):
            _to_log_file(stop.code)
        raise
    # Whatever it is: it goes on from here to whoever shows it.
    except Exception as error:
        _to_log_file("".join(format_exception(error)).rstrip())
        raise


def _to_log_file(said: str) -> None:
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, said, (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _note(file: Path, reason: str) -> None:
    # The folder may be what is wrong.
    with suppress(UserError):
        with written_whole(file) as temporary:
            temporary.write_text(f"{reason.removeprefix('error: ')}\n", encoding="utf-8", errors="backslashreplace")
        if all(found.name in (".hydra", ERROR_FILE) or found.suffix == ".log" for found in file.parent.iterdir()):
            # The job made the folder: a later sweep knows by it that the file may be removed.
            write_provenance(file.parent)


def _folder() -> str:
    hydra = HydraConfig.get()
    # Not known where a config is only shown.
    return str(hydra.run.dir if OmegaConf.is_missing(hydra.runtime, "output_dir") else hydra.runtime.output_dir)


def _type() -> str:
    return str(HydraConfig.get().job.name)


def _group() -> str | None:
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None
    return group_name(_sweep_folder(), Path(hydra.runtime.cwd))


def _name() -> str | None:
    own = _parsed(list(HydraConfig.get().overrides.task))
    varied = _varied()
    told = {override.get_key_element(): override.input_line for override in own if override.input_line}
    names = [name for name in told if name in varied] or [
        name for name in told if name.lstrip("+~").split(".")[0] not in _ASIDE
    ]
    name = ", ".join(told[name] for name in names)
    return (name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…") or None


def _varied() -> set[str]:
    """Keys that this sweep gives several values to."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return set()
    params = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    # The job itself is told its own values only.
    sweep = _sweep_folder() / "multirun.yaml"
    given = [str(one) for one in at(settings_in(sweep), "hydra.overrides.task")] if sweep.is_file() else []
    return {override.get_key_element() for override in _parsed([*params, *given]) if override.is_sweep_override()}


def _sweep_folder() -> Path:
    hydra = HydraConfig.get()
    return sweep_folder(Path(hydra.runtime.output_dir), str(hydra.sweep.subdir))


def _parsed(overrides: list[str]) -> list[Override]:
    parsed: list[Override] = OverridesParser.create().parse_overrides(overrides)
    return parsed
