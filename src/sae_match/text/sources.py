"""Where documents come from: packages, files of one's own, datasets on the hub."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib import import_module

from sae_match.text.articles import join_articles
from sae_match.text.describing import source_files
from sae_match.text.documents import Document
from sae_match.text.files import TextFile, format_of
from sae_match.text.packaged import reference_manual, standard_library, state_of_the_union
from sae_match.text.settings import SourceSettings, refuse_impossible_source


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


def read_works(files: Sequence[TextFile], source: SourceSettings) -> Iterator[Document]:
    """Works, or rows, of some files of a source, blank ones left out."""
    # Imported here: what comes with packages needs nothing that reads tables.
    texts = import_module("sae_match.text.reading").texts
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
