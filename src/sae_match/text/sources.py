"""Where documents come from: packages, files of one's own, datasets on the hub."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sae_match.text.articles import join_articles
from sae_match.text.documents import Document
from sae_match.text.files import TextFile, format_of, local_files
from sae_match.text.hub import dataset_files
from sae_match.text.packaged import (
    addresses,
    library_folder,
    library_modules,
    reference_manual,
    standard_library,
    state_of_the_union,
    topics,
)
from sae_match.text.reading import texts
from sae_match.text.settings import SourceSettings, refuse_impossible_source


@dataclass(frozen=True)
class SourceDescription:
    """What a source consists of, known without reading or downloading it.

    Attributes:
        kind: Kind of the source.
        where: Folder, package, or dataset with its commit.
        files: Number of its files, or of its works where a package holds them.
        bytes: Of all files; none where that is not known.
    """

    kind: str
    where: str
    files: int
    bytes: int | None


def open_source(source: SourceSettings) -> Iterator[Document]:
    """Whole works, or rows, of a source in the order they are stored in, read as they are asked for.

    A work is named by its file, a row by a hash of its text. To which part either belongs follows from
    its text alone: what moves stays in its part, and equal texts are in the same.

    Raises:
        UserError: At once if there is no such source, while reading if a file is damaged.
    """
    refuse_impossible_source(source)
    if source.kind == "sotu":
        return state_of_the_union()
    if source.kind == "stdlib":
        return standard_library(source.path)
    if source.kind == "pydoc":
        return reference_manual()
    return read_works(source_files(source)[1], source)


def describe(source: SourceSettings) -> SourceDescription:
    """What a source consists of, by metadata alone: nothing of it is read or downloaded.

    Raises:
        UserError: If there is no such source, or the hub cannot be reached or refuses.
    """
    refuse_impossible_source(source)
    if source.kind == "sotu":
        return SourceDescription(source.kind, "package sotu", len(addresses()), None)
    if source.kind == "stdlib":
        root = library_folder(source.path)
        modules = library_modules(root)
        return SourceDescription(source.kind, str(root), len(modules), sum(file.stat().st_size for file in modules))
    if source.kind == "pydoc":
        return SourceDescription(source.kind, "Python's reference manual", len(topics()), None)
    where, files = source_files(source)
    return SourceDescription(source.kind, where, len(files), sum(file.size for file in files))


def source_files(source: SourceSettings) -> tuple[str, list[TextFile]]:
    """Where the files of a source are, and the files; for kinds that are made of files.

    Raises:
        UserError: If there are none, or the hub cannot be reached or refuses.
    """
    if source.kind == "hub":
        name = source.name or ""
        commit, files = dataset_files(name, source.revision, source.data_files, source.config, source.split)
        return f"{name}@{commit}", files
    path = source.path or ""
    return path, local_files(path, source.kind)


def read_works(files: Sequence[TextFile], source: SourceSettings) -> Iterator[Document]:
    """Works, or rows, of some files of a source, blank ones left out."""
    for file in files:
        kind = format_of(file.name) if source.kind == "hub" else source.kind
        if kind == "text":
            for text in texts(file, kind, source.column):
                if text.strip():
                    # Not by its path: that depends on which folder it is reached from.
                    yield Document(id=file.name, group=_name_of(text), text=text)
        elif kind is not None:
            rows = texts(file, kind, source.column)
            yield from (_row(text) for text in (join_articles(rows) if source.join else rows) if text.strip())


def _row(text: str) -> Document:
    # JSON can spell halves of surrogate pairs, which are no characters and which tokenizers refuse.
    text = text.encode("utf-8", errors="replace").decode()
    name = _name_of(text)
    return Document(id=name, group=name, text=text)


def _name_of(text: str) -> str:
    return sha256(text.encode("utf-8", errors="replace")).hexdigest()[:16]
