"""What Hydra refuses on a command line, in one line as everything else that is refused."""

import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal import hydra as composing
from hydra._internal import utils as starting
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sae_match.addresses import without_users
from sae_match.strings import in_a_line, reason_of, visible

_NO_GROUP = re.compile(r"Could not override '([^']+)'\. No match in the defaults list")
_NO_SETTING = re.compile(r"Could not override '([^']+)'\.")
_TWICE = re.compile(r"Multiple values for ([^ ]+)\.")
_NO_CHOICE = "Config group override must be a string or a list"
_NO_VALUE = re.compile(r"Error merging override (.+)")
# Lines that say where Hydra's documentation is, and how to change its own configs.
_ASIDE = ("See https://", "To append to your", "Did you mean")
_SEARCHED = "Config search path"
_FULL = "HYDRA_FULL_ERROR"
_MISUSED, _LONGEST = 2, 1000


@contextmanager
def refused_in_one_line(config: Path) -> Iterator[None]:
    """While the block runs, a refusal of Hydra's ends the program with one line on standard error.

    Hydra prints several, and has no setting for that. With `HYDRA_FULL_ERROR=1` they come with a traceback, as ever.

    Args:
        config: The program's primary config.
    """
    places: tuple[Any, ...] = (starting, composing)
    report = starting.run_and_report

    def reported(asked: Callable[[], Any]) -> Any:
        def answered() -> Any:
            try:
                return asked()
            except HydraException as error:
                if os.environ.get(_FULL) == "1":
                    raise
                raise SystemExit(f"error: {visible(in_one_line(error, config))}") from error
            except OmegaConfBaseException as error:
                # Of a config that is only shown: one that is run is refused where it becomes settings.
                if os.environ.get(_FULL) == "1":
                    raise
                where = f"{error.full_key}: " if error.full_key else ""
                raise SystemExit(f"error: {where}{reason_of(error)}") from error
            except ValueError as error:
                # Hydra has no refusal of its own for this one.
                if os.environ.get(_FULL) == "1" or not str(error).startswith(_NO_CHOICE):
                    raise
                raise SystemExit("error: null is no choice of a group; to choose nothing, say '~GROUP'") from error

        return report(answered)

    # The module, whose name in its package stands for a function.
    started: Any = sys.modules[hydra.main.__module__]
    parser = started.get_args_parser
    for place in places:
        place.run_and_report = reported
    started.get_args_parser = lambda: _InOneLine(add_help=False, parents=[parser()])
    try:
        yield
    finally:
        started.get_args_parser = parser
        for place in places:
            place.run_and_report = report


class _InOneLine(ArgumentParser):
    """A parser of command lines that says what it refuses as everything else is said: the usual one repeats it raw."""

    def error(self, message: str) -> NoReturn:
        """Refuse a command line."""
        print(f"error: {in_a_line(message, _LONGEST)} (--help says what there is)", file=sys.stderr)
        raise SystemExit(_MISUSED)


def in_one_line(error: HydraException, config: Path) -> str:
    """What a refusal of Hydra's says, in the words of the project where it is a usual one.

    Args:
        error: The refusal.
        config: The program's primary config.
    """
    return _usual(error, config) or _plain(error)


def _usual(error: HydraException, config: Path) -> str | None:
    """What is said of a name that there is not, or that is chosen twice; nothing of other refusals."""
    said, cause = str(error), error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"there is no {group}={choice}; {_instead(choice, error.options)}"
    if found := _NO_GROUP.match(said):
        return f"there is no group {found[1]} to choose from; {_instead(found[1], _groups(config))}"
    if found := _NO_SETTING.match(said):
        kind = cause.object_type if isinstance(cause, OmegaConfBaseException) else None
        known = [field.name for field in fields(kind)] if is_dataclass(kind) else []
        # The first part of its name that there is not.
        absent = cause.full_key or "" if isinstance(cause, OmegaConfBaseException) else ""
        hint = f"; {_instead(absent.rpartition('.')[2], known)}" if known else f"; to add it, say +{found[1]}=…"
        return f"there is no setting {found[1]}{hint}"
    if found := _TWICE.match(said):
        return f"{found[1]} is chosen already; to choose another one, say {found[1]}=… without a +"
    return None


def _plain(error: HydraException) -> str:
    """What a refusal says, without Hydra's advice on its own configs."""
    said, cause = str(error), error.__cause__
    if isinstance(error, OverrideParseException):
        # Its first line may repeat what was given.
        reasons = [line for line in said.splitlines() if not line.startswith(("Error parsing", *_ASIDE))]
        return f"cannot read {without_users(str(error.override))}: {'; '.join(reasons)}"
    reason = str(cause).splitlines()[0] if isinstance(cause, OmegaConfBaseException) and str(cause) else None
    if (found := _NO_VALUE.match(said)) and reason:
        return f"{found[1]}: {reason}"
    lines = [line.strip() for line in said.partition(_SEARCHED)[0].splitlines()]
    told = [line.rstrip(".") for line in lines if line and not line.startswith(_ASIDE)]
    return "; ".join([*told, *([reason] if reason else [])])


def _instead(name: str, known: Sequence[str]) -> str:
    """What there is instead of a name that there is not."""
    near = get_close_matches(name, known, n=1)
    listed = ", ".join(known)
    return f"did you mean {near[0]}? There are {listed}" if near else f"there are {listed}"


def _groups(config: Path) -> list[str]:
    """Groups that a program chooses from, in the order of its defaults list."""
    entries = OmegaConf.select(OmegaConf.load(config), "defaults", default=[])
    names = [str(name) for entry in entries if isinstance(entry, DictConfig) for name in entry]
    return [name for name in names if " " not in name and not name.startswith("schema@")]
