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
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import hydra
from hydra._internal import hydra as composing
from hydra._internal import utils as starting
from hydra.core.config_store import ConfigStore
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
_SEVERAL = re.compile(r"Ambiguous value for argument '([^'=]+)=(.*)'")
_LAUNCHER = re.compile(r"In 'hydra/launcher/(\w+)': Could not (?:find|load) 'hydra/launcher/")
# Lines that say where Hydra's documentation is, and how to change its own configs.
_ASIDE = ("See https://", "To append to your", "Did you mean")
_SEARCHED = "Config search path"
_FULL = "HYDRA_FULL_ERROR"
_MISUSED, _LONGEST = 2, 1000
_LAUNCHERS, _SWEEPS = "hydra.launcher.", "hydra/launcher"
# Settings, or choices of a group, that a hint offers.
_OFFERED = 3


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
                if not str(error).endswith("NoneType"):
                    raise SystemExit("error: a setting is given as NAME=VALUE, a choice as GROUP=CHOICE") from error
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
    return _not_installed(error) or _usual(error, config) or _plain(error)


def _not_installed(error: HydraException) -> str | None:
    """What is said of a choice that another package brings; nothing of other refusals."""
    found = _LAUNCHER.match(str(error))
    return f'hydra/launcher={found[1]} needs the extra launchers: pip install -e ".[launchers]"' if found else None


def _usual(error: HydraException, config: Path) -> str | None:
    """What is said of a name that there is not, or that is chosen twice; nothing of other refusals."""
    said, cause = str(error), error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _no_choice(error.missing_cfg_file, error.options)
    if found := _NO_GROUP.match(said):
        return f"there is no group {found[1]} to choose from; {_instead(found[1], _groups(config))}"
    if found := _NO_SETTING.match(said):
        return f"there is no setting {found[1]}; {_no_setting(found[1], cause, config)}"
    if found := _SEVERAL.match(said):
        return _several(found[1], found[2], config)
    if found := _TWICE.match(said):
        return f"{found[1]} is chosen already; to choose another one, say {found[1]}=… without a +"
    return None


def _plain(error: HydraException) -> str:
    """What a refusal says, without Hydra's advice on its own configs."""
    said, cause = str(error), error.__cause__
    if isinstance(error, OverrideParseException):
        # Its first line may repeat what was given.
        name, _, value = str(error.override).partition("=")
        if "{layer}" in value and not value.startswith(("'", '"')):
            return f"cannot read {name}={value}: braces are quoted twice, as in \"{name}='{value}'\""
        reasons = [line for line in said.splitlines() if not line.startswith(("Error parsing", *_ASIDE))]
        return f"cannot read {without_users(str(error.override))}: {'; '.join(reasons)}"
    reason = str(cause).splitlines()[0] if isinstance(cause, OmegaConfBaseException) and str(cause) else None
    if (found := _NO_VALUE.match(said)) and reason:
        return f"{found[1]}: {reason}"
    lines = [line.strip() for line in said.partition(_SEARCHED)[0].splitlines()]
    told = [line.rstrip(".") for line in lines if line and not line.startswith(_ASIDE)]
    return "; ".join([*told, *([reason] if reason else [])])


def _no_choice(missing: str, options: Sequence[str]) -> str:
    """What to say instead of a choice of a group that there is not."""
    group, _, choice = missing.rpartition("/")
    return f"there is no {group}={choice}; {_instead(choice, options)}"


def _no_setting(name: str, cause: BaseException | None, config: Path) -> str:
    """What to say instead of a setting that there is not."""
    if not isinstance(cause, OmegaConfBaseException):
        return f"to add it, say +{name}=…"
    # The first part of its name that there is not.
    absent = cause.full_key or name
    if absent.startswith(_LAUNCHERS) and (choices := _with_setting(absent, config)):
        return f"{' or '.join(choices)} has it"
    if is_dataclass(cause.object_type):
        return instead_of(absent, [field.name for field in fields(cause.object_type)], root=_schema(config))
    parent: Any = cause.parent_node
    known = [str(key) for key in parent] if isinstance(parent, DictConfig) else []
    # Numbers of layers are near each other, and none is meant for another.
    alike = [] if absent.rpartition(".")[2].isdecimal() else known
    if get_close_matches(absent.rpartition(".")[2], alike, n=1):
        return instead_of(absent, known)
    if "." in absent and (choices := _with_setting(absent, config)):
        return f"{' or '.join(choices)} has it"
    there = f"there are {', '.join(known)}; " if known else ""
    return f"{there}to add it, say +{name}=…"


def instead_of(name: str, known: Sequence[str], root: type | None = None) -> str:
    """What a setting that there is not may have been meant for, spelled as it is given.

    Args:
        name: With all its parts.
        known: What there is in its place.
        root: What the whole config composes to: where it has a setting of that very name elsewhere, that is offered.
    """
    place, _, last = name.rpartition(".")
    meant = _settings_called(last, root)[: _OFFERED + 1] if root is not None else []
    if not 0 < len(meant) <= _OFFERED:
        meant = [f"{place}.{near}" if place else near for near in get_close_matches(last, known, n=1)]
    listed = ", ".join(known)
    return f"did you mean {' or '.join(meant)}? There are {listed}" if meant else f"there are {listed}"


def _settings_called(last: str, kind: type, place: str = "") -> list[str]:
    """Settings whose names end so, in full, in a dataclass and those within it."""
    found = []
    for name, hint in get_type_hints(kind).items():
        if name == last and place:
            found.append(f"{place}{name}")
        for inner in (hint, *get_args(hint)):
            # What is one of many has a name of its own between.
            if isinstance(inner, type) and is_dataclass(inner) and get_origin(hint) not in (dict, list):
                found += _settings_called(last, inner, f"{place}{name}.")
    return found


def _with_setting(name: str, config: Path) -> list[str]:
    """Choices of a setting's group that have it, if they are few."""
    group, inner = (_SWEEPS, name.removeprefix(_LAUNCHERS)) if name.startswith(_LAUNCHERS) else name.split(".", 1)
    found = []
    for file in sorted((config.parent / group).glob("*.yaml")):
        if OmegaConf.select(OmegaConf.load(file), inner) is not None:
            found.append(f"{group}={file.stem}")
    return found if len(found) <= _OFFERED else []


def _several(name: str, values: str, config: Path) -> str:
    """What to say instead of several values without a list or a sweep."""
    for_each = f"-m {name}={values} runs a job for each"
    kind: Any = _schema(config)
    for part in name.split("."):
        kind = get_type_hints(kind).get(part) if is_dataclass(kind) else None
        kind = next((inner for inner in get_args(kind) if is_dataclass(inner)), kind)
    if get_origin(kind) is list:
        return f"{name}={values} is no list: say '{name}=[{values}]'; {for_each}"
    if name.rpartition(".")[2] == "pairs":
        return f"{name}={values} is no list of pairs: say '{name}=[[{values}]]'"
    return f"{name}={values} are several values, and it takes one; {for_each}"


def _schema(config: Path) -> type | None:
    """What a program's config composes to, where that is known."""
    found = ConfigStore.instance().repo.get("schema", {}).get(f"{config.stem}.yaml")
    kind = OmegaConf.get_type(found.node) if found is not None else None
    return kind if is_dataclass(kind) else None


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
