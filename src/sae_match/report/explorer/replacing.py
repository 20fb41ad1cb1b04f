"""What of an earlier page may be replaced: only what the explorer wrote, known by names and first words."""

import re
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from sae_match.errors import UserError
from sae_match.owned import begin_of

#: Names of the page, of what lies beside it, and of the folder of its data.
PAGE, FOLDER, CHUNKS = "report.html", "report", "data"
_NAMED = re.compile(r"(index|judgements|(layer|labels|paths|relations)-\d+)\.js")
# What a killed run leaves of a file that it was writing.
_HALF = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.js")
# What earlier versions had among their own files, and this one does not.
_FORMER = re.compile(r"page/[a-z_]+\.(js|css)")
_RECEIVED, _OF_PAGE = "Explorer.receive(", 'src="report/page/main.js"'
# What file managers leave in every folder that somebody looks at.
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")


def refuse_foreign_page(folder: Path) -> None:
    """Refuse a folder where a page could only be written over something else; better asked before any work.

    Raises:
        UserError: If `report.html` or anything in `report` is not the explorer's.
    """
    page, beside = folder / PAGE, folder / FOLDER
    if (page.exists() or page.is_symlink()) and not is_page(page):
        raise UserError(f"{page} is no page of this program, and would be written over; {_REMEDY}")
    if not beside.exists() and not beside.is_symlink():
        return
    if beside.is_symlink() or not beside.is_dir():
        raise UserError(f"{beside} is not a folder that this program made, and would be replaced; {_REMEDY}")
    if (foreign := next(_foreign(beside), None)) is not None:
        raise UserError(f"{foreign} was not made by this program, and {beside} would be replaced; {_REMEDY}")


_REMEDY = "move it elsewhere, or name another folder: output_dir=DIR"


def is_page(file: Path) -> bool:
    """Whether a file is a page of the explorer, of this version or an earlier one."""
    return file.is_file() and not file.is_symlink() and _OF_PAGE in begin_of(file)


def is_chunk(file: Path) -> bool:
    """Whether a file is a chunk of a page's data."""
    return begin_of(file).startswith(_RECEIVED)


def remove_page_folder(folder: Path) -> None:
    """Remove what lies beside an earlier page, if all of it is the explorer's.

    Raises:
        UserError: If it is not.
    """
    refuse_foreign_page(folder.parent)
    if folder.exists():
        shutil.rmtree(folder)


def remove_unfinished(folder: Path) -> None:
    """Remove what runs that were killed while they wrote have left, as far as all of it is the explorer's."""
    for leftover in folder.glob(f".{FOLDER}.*"):
        if leftover.is_dir() and not leftover.is_symlink() and next(_foreign(leftover), None) is None:
            shutil.rmtree(leftover, ignore_errors=True)


def _foreign(folder: Path) -> Iterator[Path]:
    """Files in a folder of ours that the explorer never wrote."""
    with resources.as_file(resources.files("sae_match.report.explorer")) as package:
        own = {
            file.relative_to(package).as_posix()
            for part in ("page", "vendor")
            for file in (package / part).rglob("*")
            if file.is_file()
        }
    for file in sorted(folder.rglob("*")):
        if file.is_dir() and not file.is_symlink():
            continue
        name = file.relative_to(folder).as_posix()
        if name in own or _FORMER.fullmatch(name) or file.name in _LITTER:
            continue
        if file.is_symlink() or file.parent != folder / CHUNKS or not _is_data(file):
            yield file


def _is_data(file: Path) -> bool:
    """Whether a file in the folder of data is a chunk, whole or half-written."""
    half = _HALF.fullmatch(file.name)
    if half is not None:
        return _NAMED.fullmatch(half[1]) is not None
    # Half-written where a run was killed: what there is of it begins as every chunk does.
    return _NAMED.fullmatch(file.name) is not None and (is_chunk(file) or file.stat().st_size == 0)
