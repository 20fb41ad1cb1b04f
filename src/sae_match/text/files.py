"""Files that documents are read from: on this machine, or streamed from the hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from huggingface_hub import HfFileSystem

from sae_match.errors import UserError

HUB = "hf://"

_PACKED = ("", ".gz", ".zst")
#: How the names of files of a format end. Compressed lines are read as they are.
ENDINGS: dict[str, tuple[str, ...]] = {
    "text": (".txt", ".md"),
    "jsonl": tuple(f"{ending}{packed}" for ending in (".jsonl", ".ndjson") for packed in _PACKED),
    "parquet": (".parquet",),
}
# May be JSON lines or one object about a folder: read where it is asked for by name, not found in a folder.
_JSON = tuple(f".json{packed}" for packed in _PACKED)


@dataclass(frozen=True)
class TextFile:
    """A file that documents are read from.

    Attributes:
        name: Its name within the folder or dataset.
        location: Path on this machine, or `hf://datasets/OWNER/NAME@COMMIT/PATH`.
        size: In bytes.
    """

    name: str
    location: str
    size: int

    def open(self) -> BinaryIO:
        """The bytes of the file; of one on the hub only those that are read are fetched."""
        if self.location.startswith(HUB):
            return cast(BinaryIO, HfFileSystem().open(self.location, "rb", size=self.size))
        return Path(self.location).open("rb")


def format_of(name: str) -> str | None:
    """Format that a file's name stands for, one of `ENDINGS`, or none."""
    if name.lower().endswith(_JSON):
        return "jsonl"
    return next((kind for kind, endings in ENDINGS.items() if name.lower().endswith(endings)), None)


def local_files(path: str, kind: str) -> list[TextFile]:
    """The file `path`, or those below the folder `path` whose names end as the format's do, in order of names.

    Hidden files and empty ones are left out.

    Raises:
        UserError: If there is no such file or folder, or nothing in it.
    """
    root = Path(path).expanduser()
    if root.is_dir():
        found = sorted(file for file in root.rglob("*") if _is_wanted(file.relative_to(root), kind) and file.is_file())
        if not found:
            raise UserError(f"no {_spelt(kind)} file below the folder {root}{_other_kinds(root, kind)}")
    elif root.is_file():
        root, found = root.parent, [root]
    else:
        raise UserError(f"there is no file or folder {root}")
    files = [TextFile(file.relative_to(root).as_posix(), str(file), file.stat().st_size) for file in found]
    full = [file for file in files if file.size]
    if not full:
        raise UserError(
            f"{files[0].location} is empty" if len(files) == 1 else f"all {len(files)} files below {root} are empty"
        )
    return full


def some_names(names: Sequence[str], most: int = 8) -> str:
    """The first names, for an error that offers them."""
    return f"{', '.join(names[:most]) or 'nothing'}{' …' if len(names) > most else ''}"


def _is_wanted(name: Path, kind: str) -> bool:
    return name.name.lower().endswith(ENDINGS[kind]) and not any(part.startswith(".") for part in name.parts)


def _other_kinds(root: Path, kind: str) -> str:
    """What a folder holds instead, and how to say so."""
    for other in ENDINGS:
        if other != kind and any(_is_wanted(file.relative_to(root), other) for file in root.rglob("*")):
            return f"; it holds {_spelt(other)} files, which are kind={other}"
    return ""


def _spelt(kind: str) -> str:
    *others, last = ENDINGS[kind]
    return f"{', '.join(others)} or {last}" if others else last
