"""Collected activations on disk, so that a killed collection goes on."""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sae_match.errors import UserError
from sae_match.files import refuse_damaged_archive, remove_all_leftovers, written_whole

log = logging.getLogger(__name__)

#: Name of the folder below a training's destination.
FOLDER = "activations"
_PREFIX = "part-"
_NAMED = re.compile(rf"{_PREFIX}[0-9a-f]{{16}}-\d{{5,}}\.pt")
# What files of every block begin with, as a pattern.
_ANY_PREFIX = f"{_PREFIX}{'[0-9a-f]' * 16}-"
# What cannot be read as a part.
_UNSOUND = (
    OSError,
    RuntimeError,
    EOFError,
    UnpicklingError,
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
)
#: Bytes of activations in one file, about: so much is lost when a collection is killed.
_BYTES = 1 << 28


class Part(NamedTuple):
    """Activations that were collected in a row.

    Attributes:
        residuals: Of each layer, as bfloat16.
        text: Where the text stood after them.
    """

    residuals: Float[Tensor, "layers tokens d_in"]
    text: Mapping[str, Any]


class Collected:
    """Parts of one block of activations, one file each, named by what they were collected from.

    Args:
        folder: Where the files are.
        identity: What determines the activations: model, layers, text, and where the text stood before.
        layers: Number of layers.
        d_in: Width of the residual stream.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], layers: int, d_in: int) -> None:
        self.folder, self.shape = folder, (layers, d_in)
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=_plain).encode()).hexdigest()[:16]
        self.prefix = f"{_PREFIX}{digest}-"
        self.tokens_each = max(1, _BYTES // (2 * layers * d_in))
        self._number = 0

    def __iter__(self) -> Iterator[Part]:
        """What is there, in order; parts that are written from then on follow it."""
        self._number = 0
        # Also of files that are not there: a process may have been killed while it wrote the first.
        remove_all_leftovers(self.folder, [f"{self.prefix}[0-9]*.pt"])
        while (file := self._file()).exists():
            yield self._read(file)
            self._number += 1

    def write(self, part: Part) -> None:
        """Add a part.

        Raises:
            UserError: If it cannot be written, or the disk is full.
        """
        size = part.residuals.numel() * part.residuals.element_size()
        self.folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(self.folder).free) < 2 * size:
            raise UserError(
                f"the disk of {self.folder} has {free / 10**9:.2g} GB left, too little for collected activations; "
                "lower training.tokens or training.buffer, or name another folder with training.activations"
            )
        with written_whole(self._file()) as temporary:
            try:
                torch.save({"residuals": part.residuals.cpu(), "text": dict(part.text)}, temporary)
            except RuntimeError as error:
                # What torch makes of a disk that is full.
                raise OSError("it could not be written whole; is the disk full?") from error
        self._number += 1

    def remove(self) -> None:
        """Remove the files of this block."""
        _remove_parts(self.folder, self.prefix)

    def _file(self) -> Path:
        return self.folder / f"{self.prefix}{self._number:05d}.pt"

    def _read(self, file: Path) -> Part:
        try:
            refuse_damaged_archive(file)
            part = _part_in(file)
            if (part.residuals.shape[0], part.residuals.shape[2]) != self.shape:
                raise ValueError("its shape is another")
        except _UNSOUND as error:
            raise UserError(f"{file} holds no collected activations that can be read; remove it") from error
        return part


def remove_collected(folder: Path) -> None:
    """Remove all collected activations of a training that is over, and their folder if nothing else is in it."""
    _remove_parts(folder, _ANY_PREFIX)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _remove_parts(folder: Path, prefix: str) -> None:
    """Remove files that are parts by their names and by what they hold, and no others: people name files as well.

    What was left by a process that was killed while it wrote one goes too.

    Args:
        folder: It may not be there.
        prefix: A pattern.
    """
    for file in folder.glob(f"{prefix}[0-9]*.pt"):
        if _NAMED.fullmatch(file.name) and _is_part(file):
            file.unlink()
    remove_all_leftovers(folder, [f"{prefix}[0-9]*.pt"])


def _is_part(file: Path) -> bool:
    try:
        return _part_in(file).residuals.dtype == torch.bfloat16
    except _UNSOUND:
        return False


def _part_in(file: Path) -> Part:
    """A part as it lies in its file; what reads it raises one of `_UNSOUND` where it is none."""
    found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    part = Part(found["residuals"], found["text"])
    if part.residuals.ndim != 3 or not isinstance(part.text, dict):
        raise ValueError("it is no part")
    return part


def _plain(value: Any) -> Any:
    """Tensors by their content."""
    if isinstance(value, Tensor):
        return hashlib.sha256(value.contiguous().cpu().numpy().tobytes()).hexdigest()
    raise TypeError(f"{type(value).__name__} has no plain form")
