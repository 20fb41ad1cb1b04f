"""Zip archives (npz, torch's files) of which every member is whole, by its checksum, before anything of it is used."""

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sae_match.bounds import refuse_bomb
from sae_match.errors import UserError, reason_of
from sae_match.files import refuse_damaged_members

# What numpy and torch write; the others unpack without a bound.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# A member with this attribute has no content for torch, whatever lies there and whatever its checksum.
_FOLDER = 0x10
_LOCAL_HEADER = b"PK\x03\x04"


@contextmanager
def sound_archive(file: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose members have been read through once, against their checksums.

    Raises:
        UserError: If the file is none, a member is damaged, or it would unpack to more than any real one does.
    """
    with file.open("rb") as stream:
        is_archive = stream.read(len(_LOCAL_HEADER)) == _LOCAL_HEADER
    if not (is_archive and zipfile.is_zipfile(file)):
        raise UserError(f"{file} is damaged or no npz archive (an unfetched large-file pointer?); fetch it again")
    with damage_told(file), zipfile.ZipFile(file) as archive:
        _refuse_strange(file, archive.infolist())
        refuse_damaged_members(archive)
        yield archive


@contextmanager
def damage_told(file: Path, what: str = "damaged", hint: str = "") -> Iterator[None]:
    """Within the block a file of somebody else's is read; whatever its bytes raise there says that it is damaged.

    Args:
        file: The file.
        what: What it is then.
        hint: Added to the reason.

    Raises:
        UserError: If anything is raised.
    """
    try:
        yield
    except UserError:
        raise
    # zipfile, numpy and torch's reader of pickles leave open what damaged or made-up bytes raise, and ten thousand
    # mutations of a file do raise many kinds. No code of ours but such readers stands in a block.
    except Exception as error:
        raise UserError(f"{file} is {what} ({reason_of(error)}{hint}); remove it and fetch it again") from error


def read_arrays(file: Path, archive: zipfile.ZipFile, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an npz archive, by name, each as large as its header says.

    Args:
        file: Where the archive is.
        archive: As `sound_archive` gives it.
        names: Arrays of it.

    Raises:
        UserError: If an array has another size than its header says.
    """
    arrays = {}
    for name in names:
        shape, dtype, before = array_header(archive, name)
        held = archive.getinfo(f"{name}.npy").file_size - before
        # What is no number has no size there, and is refused below.
        if not dtype.hasobject and held != math.prod(shape) * dtype.itemsize:
            raise UserError(f"{file}: {name} must be {list(shape)} of {dtype} by its header, it has {held} bytes")
        with archive.open(f"{name}.npy") as stream:
            arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def array_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and dtype of an array of an npz archive, and how many bytes of its member come before its numbers.

    Raises:
        ValueError: If it is none.
    """
    with archive.open(f"{name}.npy") as stream:
        is_old = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        return tuple(shape), dtype, stream.tell()


def _refuse_strange(file: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse archives that two programs may read differently, and those that unpack to more than is real."""
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise UserError(f"{file} is damaged (it holds two members of one name); remove it and fetch it again")
    if any(member.is_dir() or member.external_attr & _FOLDER for member in members):
        raise UserError(f"{file} is damaged (it holds a folder beside its arrays); remove it and fetch it again")
    if any(member.compress_type not in _METHODS for member in members):
        raise UserError(f"{file} is packed by a method that neither numpy nor torch writes; pack it anew")
    refuse_bomb(file.stat().st_size, sum(member.file_size for member in members), file)
