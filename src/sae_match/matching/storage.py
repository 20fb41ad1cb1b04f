"""Tensors with provenance in a safetensors file."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from sae_match.errors import UserError
from sae_match.files import written_whole

FORMAT_VERSION = "2"
# Bytes of the number that a file begins with, the size of its header.
_SIZE = 8


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file that says which version of the format and the package made it; the same content, the same bytes."""
    stamped = {**metadata, "format_version": FORMAT_VERSION, "package_version": version("sae-match")}
    with written_whole(path) as temporary:
        data = to_bytes({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=stamped)
        temporary.write_bytes(_in_order(data))


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


def _in_order(data: bytes) -> bytes:
    """A file whose metadata are in alphabetical order: the library writes them in a new order each time."""
    size = int.from_bytes(data[:_SIZE], "little")
    header = json.loads(data[_SIZE : _SIZE + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Tensors begin at multiples of eight bytes.
    text = text.ljust(-(-len(text) // _SIZE) * _SIZE)
    return len(text).to_bytes(_SIZE, "little") + text + data[_SIZE + size :]
