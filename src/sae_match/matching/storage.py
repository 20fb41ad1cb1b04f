"""Tensors with provenance in a safetensors file."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sae_match.errors import UserError
from sae_match.files import written_whole

FORMAT_VERSION = "2"


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file that says which version of the format and the package made it."""
    stamped = {**metadata, "format_version": FORMAT_VERSION, "package_version": version("sae-match")}
    with written_whole(path) as temporary:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=stamped)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load(path: Path, names: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of the given names, and the metadata without the format version.

    Raises:
        UserError: If the file is missing, damaged, lacks a tensor or is of another format version.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a sound matching file: {error}") from error
    found = metadata.pop("format_version", "none")
    if found != FORMAT_VERSION:
        raise UserError(f"{path} has format version {found}, this version reads {FORMAT_VERSION}")
    return tensors, metadata
