"""Files that are whole or absent, never half-written."""

import csv
import os
import re
import secrets
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from sae_match.errors import UserError
from sae_match.strings import csv_cell, in_a_line, visible

# What is between a file's name and its suffix while it is written.
_MARK_BYTES = 4
# Of a temporary name: the file's own, and how that ends.
_TEMPORARY = re.compile(rf"\.(.+)\.[0-9a-f]{{{2 * _MARK_BYTES}}}((?:\.[^.]+)?)")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Temporary path beside `path`, renamed to it if the block succeeds and removed if it does not.

    Raises:
        UserError: If the folder cannot be written or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file_beside(path)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()


def write_rows(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write a table as CSV in UTF-8: floats keep all their digits, and cells without a value are empty.

    No text is a formula to a spreadsheet (an apostrophe stands before it), and none acts on what reads the file.

    Args:
        path: The file.
        rows: All with the same columns.
        columns: Their names, in order; those of the first row if none are given, so that there has to be one.

    Raises:
        UserError: If the folder cannot be written or the disk is full.
    """
    table = list(rows)
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        named = list(columns or table[0])
        writer = csv.DictWriter(file, named)
        writer.writerow({name: csv_cell(visible(name)) for name in named})
        writer.writerows({column: csv_cell(value) for column, value in row.items()} for row in table)


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left; none may be writing it now."""
    remove_all_leftovers(path.parent, [escape(path.name)])


def remove_all_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove what processes that were killed while they wrote files of these names into a folder have left.

    Args:
        folder: Where no other process is writing now.
        names: Patterns.
    """
    patterns = list(names)
    for leftover in folder.glob(".*"):
        known = _TEMPORARY.fullmatch(leftover.name)
        if known and Path(known[1]).suffix == known[2] and any(fnmatchcase(known[1], pattern) for pattern in patterns):
            leftover.unlink(missing_ok=True)


def refuse_damaged_archive(path: Path) -> None:
    """Read a zip archive through, such as torch's files, which torch opens without a look at its checksums.

    Raises:
        ValueError: If a member is not what its checksum says, or the file is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_damaged_members(archive)
    # Damaged bytes end in errors of zipfile, zlib, struct, codecs and the system, of which zipfile documents one; a
    # kind that was left out would end a run that should do without the file. Nothing is hidden: the reason is named.
    except Exception as error:
        raise ValueError(f"it is no whole archive ({error})") from error


def refuse_damaged_members(archive: zipfile.ZipFile) -> None:
    """Read every member of a zip archive through.

    Raises:
        ValueError: If one is not what its checksum says; of other damage, whatever zipfile raises.
    """
    damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {in_a_line(damaged)} is wrong")


def make_writable(folder: Path) -> None:
    """Make a folder and write to it once.

    Raises:
        OSError: If that cannot be done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"room for a byte?")


def refuse_no_folder(folder: Path) -> None:
    """Check that a folder is there.

    Raises:
        UserError: If it is not.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")


def writable(folder: Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        UserError: If it cannot be written.
    """
    try:
        make_writable(folder)
    except OSError as error:
        raise UserError(f"cannot write the output folder {folder}: {error.strerror or error}") from error
    return folder


def _new_file_beside(path: Path) -> Path:
    """An empty file of a name that nobody has, with the permissions that the user's mask leaves.

    The mask is the kernel's to apply: to ask for it is to change it, for every thread of the process.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(_MARK_BYTES)}{path.suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary
