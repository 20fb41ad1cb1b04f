"""What is refused before Hydra writes anything: a secret that would stay on disk, a folder that cannot be written."""

import os
import re
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from sae_match.addresses import without_users
from sae_match.errors import UserError
from sae_match.files import make_writable

# Last parts of names under which people put secrets; no setting has such a name.
_SECRET = re.compile(r"(.*_)?(key|token|password|passwd|secret)", re.IGNORECASE)
_KEY_VARIABLE, _VARIABLE = "key_variable", re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What those who start one program many times tell each of them how many there are by.
_PROCESSES = ("WORLD_SIZE", "SLURM_NTASKS")


class OutputFolderCheck(Callback):
    """Hydra callback that makes the output folder of a run or sweep, or ends the program.

    It is asked before Hydra leaves the settings in that folder, so that what is refused here is nowhere on disk.
    """

    def on_run_start(self, config: DictConfig, **_kwargs: Any) -> None:
        """Check the settings and the folder of a single run."""
        _refuse(config)
        _make(config, "run")

    def on_multirun_start(self, config: DictConfig, **_kwargs: Any) -> None:
        """Check the settings and the folder that holds the jobs of a sweep."""
        _refuse(config)
        _make(config, "sweep")


def refuse_secrets(config: DictConfig) -> None:
    """Refuse settings, given by files or by hand, that are secrets or hold one: they would be kept, shown and logged.

    Args:
        config: As Hydra composes it, with its own part.

    Raises:
        UserError: If there are any; none of them is in what it says.
    """
    # As they stand there: what they refer to is checked where it is.
    settings: Any = OmegaConf.to_container(config, resolve=False)
    given = [override for group in ("task", "hydra") for override in settings["hydra"]["overrides"][group]]
    by_hand = (str(override).lstrip("+~").partition("=")[::2] for override in given)
    for name, value in (*by_hand, *_texts(settings)):
        last = name.rpartition(".")[2]
        if _SECRET.fullmatch(last) and value not in ("", "null", "None"):
            raise UserError(
                f"{name} would be kept with the results, for all to read: a key is given in an environment variable"
            )
        if last == _KEY_VARIABLE and not _may_be_variables(value):
            raise UserError(
                f"{name} must be the name of an environment variable that holds a key; what it is set to is none"
            )
        if without_users(value) != value:
            raise UserError(
                f"{name} holds a name or a password: leave out what stands before the '@'; keys have variables"
            )


def _may_be_variables(value: str) -> bool:
    """Whether a value, or each of several that a sweep goes through, may be a variable's name, or stands for one."""
    return "${" in value or all(_VARIABLE.fullmatch(one.strip(" '\"")) for one in value.split(","))


def _texts(settings: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Texts among settings, each with its dotted name."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _texts(value, f"{name}.{key}" if name else str(key))
    elif isinstance(settings, list):
        for value in settings:
            yield from _texts(value, name)
    elif isinstance(settings, str):
        yield name, settings


def _refuse(config: DictConfig) -> None:
    try:
        refuse_secrets(config)
    except UserError as error:
        # Of what a callback raises, Hydra lets only this through.
        raise SystemExit(f"error: {error}") from error


def _make(config: DictConfig, kind: str) -> None:
    """Make the folder of a run or sweep; where it is called by the time, one that no other has."""
    option, folder = f"hydra.{kind}.dir", Path(config.hydra[kind].dir)
    unresolved: Any = OmegaConf.to_container(config.hydra[kind], resolve=False)
    together = any(int(os.environ.get(name, "1")) > 1 for name in _PROCESSES)
    try:
        own = folder if together or "${now:" not in unresolved["dir"] else _new(folder)
        make_writable(own)
    except OSError as error:
        raise SystemExit(
            f"error: cannot write the output folder {folder}: {error.strerror or error}; "
            f"choose another with {option}=DIR"
        ) from error
    if own != folder:
        with flag_override(config.hydra, "readonly", False):
            config.hydra[kind].dir = str(own)
            # From these the jobs of a sweep are composed anew.
            quoted = str(own).replace("\\", "\\\\").replace("'", "\\'")
            config.hydra.overrides.hydra.append(f"{option}='{quoted}'")


def _new(folder: Path) -> Path:
    """A folder that was not there: several runs may start in the same second."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    names = chain([folder.name], (f"{folder.name}_{number}" for number in count(2)))
    for own in map(folder.with_name, names):
        try:
            own.mkdir()
        except FileExistsError:
            continue
        break
    return own
