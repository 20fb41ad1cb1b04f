"""Files of other runs are data: read as they are, with nothing in them resolved, made or followed."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sae_match.errors import UserError
from sae_match.evaluation.statistics.results import Result, SpanResult
from sae_match.strings import reason_of, refuse_no_name, refuse_no_title

# Bytes of the largest file of settings that any run writes, with room.
_LARGEST = 4 << 20
Found = TypeVar("Found")


def settings_in(file: Path) -> dict[str, Any]:
    """What a YAML file of settings says: an interpolation such as `${oc.env:NAME}` is the text that stands there.

    Raises:
        UserError: If it cannot be read, or is no file of settings that a run writes.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise UserError(f"{file} is larger than any settings of a run")
        text = file.read_text(encoding="utf-8")
        # A few of them could stand for more than any memory holds.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise UserError(f"{file} has aliases (*NAME), which no run writes")
        config = OmegaConf.create(text)
        if not isinstance(config, DictConfig):
            raise UserError(f"{file} holds no settings")
        found = OmegaConf.to_container(config, resolve=False)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{file} cannot be read: {reason_of(error)}") from error
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def at(settings: object, path: str) -> Any:
    """A value among settings by its dotted name.

    Raises:
        KeyError: If there is none.
    """
    for name in path.split("."):
        if not isinstance(settings, dict):
            raise KeyError(path)
        settings = settings[name]
    return settings


def table_in(load: Callable[[Path], Found], file: Path) -> Found:
    """What a function reads from a table.

    Raises:
        UserError: If it cannot be read, whatever is wrong with it.
    """
    try:
        return load(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {reason_of(error)}") from error


def refuse_no_names(rows: Iterable[Result | SpanResult], file: Path) -> None:
    """Refuse a table whose arms, metrics or datasets cannot be what files, columns and charts are called by.

    Raises:
        UserError: If it is one.
    """
    of = {(row.arm, row.metric, row.dataset) for row in rows}
    for arm in sorted({arm for arm, _, _ in of}):
        refuse_no_name(arm, "arm", file)
    for metric in sorted({metric for _, metric, _ in of}):
        refuse_no_name(metric, "metric", file)
    for dataset in sorted({dataset for _, _, dataset in of}):
        refuse_no_title(dataset, "dataset", file)
