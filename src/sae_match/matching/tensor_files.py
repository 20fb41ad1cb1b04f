"""Files of tensors that say what made them, in which format they are, and by a checksum whether they are whole."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from sae_match.errors import UserError
from sae_match.files import written_whole
from sae_match.tensors import checksum
from sae_match.version import provenance

FORMAT_VERSION = "2"
# What the version of the package is called in `provenance`.
_VERSION = "package_version"
_CHECKSUM = "checksum"
# Bytes of the number that a file begins with, the size of its header.
_SIZE = 8


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file that says what made its content and in which format it is; the same content, the same bytes.

    Metadata that were loaded from a file keep the version and commit that stand there.
    """
    made_by = {} if _VERSION in metadata else provenance()
    stamped = {**metadata, **made_by, "format_version": FORMAT_VERSION}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        data = to_bytes(whole, metadata={**stamped, _CHECKSUM: checksum(whole, stamped)})
        temporary.write_bytes(_in_order(data))


def load_tensors(
    path: Path, names: tuple[str, ...], *, sealed: bool = False, kind: str = "matching"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of the given names, and the metadata without the format version.

    Args:
        path: The file.
        names: Tensors that it must hold.
        sealed: Whether a file without a checksum is refused.
        kind: What it is a file of, for messages.

    Raises:
        UserError: If the file is missing, damaged, lacks a tensor or is of another format version.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        # Read whole: a file that is mapped and cut short by another process meanwhile would end this one.
        data = path.read_bytes()
        tensors = from_bytes(data)
        metadata: dict[str, str] = json.loads(data[_SIZE : _SIZE + int.from_bytes(data[:_SIZE], "little")]).get(
            "__metadata__", {}
        )
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a sound {kind} file: {error}") from error
    if missing := [name for name in names if name not in tensors]:
        raise UserError(f"{path} is not a sound {kind} file: it has no tensor {missing[0]}")
    said = metadata.pop(_CHECKSUM, None)
    stamped = dict(metadata)
    found = metadata.pop("format_version", "none")
    if found != FORMAT_VERSION:
        raise UserError(f"{path} has format version {found}, this version reads {FORMAT_VERSION}")
    if said is None and sealed:
        raise UserError(f"{path} has no checksum")
    if said is not None and said != checksum(tensors, stamped):
        raise UserError(f"{path} is damaged: it is not what its checksum says")
    return {name: tensors[name] for name in names}, metadata


def _in_order(data: bytes) -> bytes:
    """A file whose metadata are in alphabetical order: the library writes them in a new order each time."""
    size = int.from_bytes(data[:_SIZE], "little")
    header = json.loads(data[_SIZE : _SIZE + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Tensors begin at multiples of eight bytes.
    text = text.ljust(-(-len(text) // _SIZE) * _SIZE)
    return len(text).to_bytes(_SIZE, "little") + text + data[_SIZE + size :]
