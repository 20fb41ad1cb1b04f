"""Read the small files that SAEs are described in and the tensors that they are made of, with clear errors."""

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sae_match.bounds import MOST_SETTINGS, refuse_beyond
from sae_match.errors import UserError, listed, reason_of, shown
from sae_match.saes.formats.shared.archives import damage_told, sound_archive
from sae_match.saes.formats.shared.headers import refuse_long_header

_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_json(file: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        UserError: If it holds something else.
    """
    return _settings(file, "JSON", json.loads)


def read_yaml(file: Path) -> dict[str, Any]:
    """The settings that a YAML file holds; plain data, of which nothing is made.

    Raises:
        UserError: If it holds something else.
    """
    return _settings(file, "YAML", yaml.safe_load)


def _settings(file: Path, language: str, parsed: Callable[[str], Any]) -> dict[str, Any]:
    try:
        refuse_beyond(MOST_SETTINGS, file.stat().st_size, file, "a file of settings")
        content = parsed(file.read_text(encoding="utf-8"))
    except UserError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            f"{file} is damaged or no {language} file ({reason_of(error)}); remove it and fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{file} must hold an object of settings, it holds a {type(content).__name__}")
    return content


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        UserError: If it is no such file, or damaged.
    """
    refuse_long_header(file)
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        with file.open("rb") as opened:
            start = opened.read(4)
        if start.startswith(_PICKLES):
            raise UserError(
                f"{file} is a pickle under a safetensors name; a pickle can run code and is not opened"
            ) from error
        raise UserError(
            f"{file} is damaged or no safetensors file ({reason_of(error)}; an unfetched large-file pointer?); "
            "remove it and fetch it again"
        ) from error


def read_pickled_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file that `torch.save` wrote, by name; nothing but tensors is unpickled.

    Raises:
        UserError: If it holds anything else, or is damaged.
    """
    with damage_told(file):
        content = _unpickled(file)
    if not isinstance(content, dict):
        raise UserError(f"{file} must hold tensors by name, it holds a {type(content).__name__}")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():
        _refuse_unheld(file, name, value)
    return {name: value.detach() for name, value in tensors.items()}


def _unpickled(file: Path) -> Any:
    if zipfile.is_zipfile(file):
        with sound_archive(file) as archive:
            _refuse_long_pickle(file, archive)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file} is damaged or holds more than tensors, which could run code and is not opened"
        ) from error


def tensor(file: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """One of a file's tensors.

    Raises:
        UserError: If there is none of that name.
    """
    if name not in tensors:
        raise UserError(f"{file} has no tensor {name}; it holds {listed(sorted(tensors))}")
    return tensors[name]


def matrix(file: Path, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """One of a file's tensors that has rows and columns.

    Raises:
        UserError: If there is none of that name, or it has not two dimensions.
    """
    found = tensor(file, tensors, name)
    if found.ndim != 2:
        raise UserError(f"{file}: {name} must have rows and columns, got {list(found.shape)}")
    return found


def truth(file: Path, config: Mapping[str, Any], key: str, *, default: bool = False) -> bool:
    """Whether a config says that something is so.

    Args:
        file: Where the config comes from.
        config: The config.
        key: What it is called there.
        default: What holds where the config says nothing.

    Raises:
        UserError: If it says neither true nor false.
    """
    value = config.get(key)
    if not isinstance(value, bool | None):
        raise UserError(f"{file}: {key} must be true or false, got {shown(value)}")
    return default if value is None else value


def number(file: Path, config: Mapping[str, Any], key: str) -> float:
    """A number of a config.

    Raises:
        UserError: If the key is missing or is no number.
    """
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{file}: {key} must be a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError as error:
        raise UserError(f"{file}: {key} is no number that fits anything, got {shown(value)}") from error


def whole(file: Path, config: Mapping[str, Any], key: str) -> int:
    """A whole number of a config.

    Raises:
        UserError: If the key is missing or is no whole number.
    """
    value = number(file, config, key)
    if not value.is_integer():
        raise UserError(f"{file}: {key} must be a whole number, got {value:g}")
    return int(value)


def stated(file: Path, config: Mapping[str, Any], key: str) -> int | None:
    """A whole number of a config; none if it does not say it.

    Raises:
        UserError: If it is no whole number.
    """
    return None if config.get(key) is None else whole(file, config, key)


def section(file: Path, config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object inside a config.

    Raises:
        UserError: If the key is missing or is no object.
    """
    value = config.get(key)
    if not isinstance(value, dict):
        raise UserError(f"{file}: {key} must be an object of settings, got {shown(value)}")
    return value


def in_folder(path: str, layer: int, name: str) -> str:
    """Path of a file in the folder that a template such as `layers.{layer}` names; `.` is the source itself."""
    folder = path.replace("{layer}", str(layer)).strip("/")
    return name if folder in ("", ".") else f"{folder}/{name}"


def _refuse_long_pickle(file: Path, archive: zipfile.ZipFile) -> None:
    for member in archive.infolist():
        if member.filename.endswith(".pkl"):
            refuse_beyond(MOST_SETTINGS, member.file_size, file, f"the pickle {member.filename}")


def _refuse_unheld(file: Path, name: str, value: Tensor) -> None:
    """Refuse a tensor whose entries are not all there: a few bytes can spell one of any size."""
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        raise UserError(f"{file}: {name} must be a plain tensor, got {value.layout} on {value.device}")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError(f"{file}: {name} is {list(value.shape)}, but the file holds fewer numbers for it")
