"""What the package made itself: nothing else is ever removed or written over."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from sae_match.errors import UserError, listed
from sae_match.files import remove_all_leftovers, remove_leftovers, writable, written_whole
from sae_match.version import PROVENANCE, write_provenance

_MADE_BY = "package_version"
# What files of ours begin with, of earlier versions too: each is known by itself, also in a folder that users share.
_JUDGEMENTS = re.compile(r"judgements(_\d+)?\.csv")
_HEADS = {
    "comparison.md": r"# \d+ runs? of ",
    "judgements.csv": "arm,",
    "results.csv": "source_layer,target_layer,",
    "spans.csv": "span,",
    "differences.csv": "span,",
    "warnings.csv": "kind,where,",
    "matchings.csv": "source_layer,target_layer,",
    "composition.csv": "source_layer,target_layer,",
    "unmatched.csv": "source_layer,target_layer,",
    "splits.csv": "source_layer,target_layer,",
    "lives.csv": "first_layer,first_feature,",
    "comparison.csv": "run,",
    "comparison_by_layer.csv": "run,",
    "comparison_differences.csv": "run,",
    "comparison_over_seeds.csv": "seeds,",
    "stability.csv": "source_layer,",
    "agreement.csv": "agreement_of,",
    "benchmark.csv": "case,",
}
# Folders of a run whose files are known by what they hold, and what runs call these; pictures have names of their own.
_PAIRED = "L*-L*"
_KEPT = {
    "figures": (),
    "pairs": (f"{_PAIRED}.parquet",),
    "features": ("L*.parquet",),
    "matchings": (f"{_PAIRED}.safetensors",),
    "significance": (f"{_PAIRED}.safetensors",),
    "drift": (f"{_PAIRED}.parquet",),
    "causal": (f"{_PAIRED}.parquet",),
    "relations": (f"{_PAIRED}.safetensors", f"{_PAIRED}.parquet"),
    "provenance": ("L*.parquet", "graph.json", "graph.graphml"),
    "steering": ("steering.parquet", "steering.csv"),
    "groups": ("groups*.json",),
    "csv": ("metrics.csv", "hparams.yaml"),
}
# Folders that no version has written to without a record.
_ALWAYS_RECORDED = ("features", "drift", "causal", "provenance", "steering", "groups")
_MOST = 1 << 16
# Bytes of a record; one of a thousand pictures has a quarter of a megabyte.
_MOST_RECORD = 1 << 24


def is_made_here(folder: Path) -> bool:
    """Whether a run of ours has worked in a folder: its provenance says so, or a table of an earlier version's run."""
    try:
        said = json.loads(begin_of(folder / PROVENANCE) or "null")
    except ValueError:
        said = None
    if isinstance(said, dict) and _MADE_BY in said:
        return True
    return any((folder / name).is_file() and is_table(folder / name) for name in ("results.csv", "matchings.csv"))


def is_table(file: Path) -> bool:
    """Whether a file is what the table of its name begins like; an empty one holds nothing that could be lost."""
    head = _head_of(file.name)
    if head is None or not file.is_file():
        return False
    return file.stat().st_size == 0 or re.match(head, begin_of(file)) is not None


def remove_table(file: Path) -> None:
    """Remove a table that an earlier run has left, so that it does not pass for one of this run; nothing else.

    Raises:
        UserError: If it cannot be removed.
    """
    if is_table(file):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot remove {file}, which an earlier run has left: {error.strerror or error}"
            ) from error


def _head_of(name: str) -> str | None:
    """What a file of ours of this name begins with, as a regular expression; none where it can begin with anything."""
    return _HEADS.get("judgements.csv" if _JUDGEMENTS.fullmatch(name) else name)


def begin_of(file: Path) -> str:
    """What a file begins with, as text; nothing where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(_MOST).decode("utf-8", errors="replace")
    except OSError:
        return ""


def claim(folder: Path, leaves: Iterable[str], setting: str = "output_dir") -> None:
    """Make a folder the run's own, before any work: it is made where it is not there, and says whose it is.

    What an earlier run was writing when it was killed is removed.

    Args:
        folder: Of the run.
        leaves: Names of all that the run may write into it, as patterns.
        setting: What the user names the folder with.

    Raises:
        UserError: If something of these names is there that no run of ours has left, or the folder cannot be written.
    """
    names = list(leaves)
    writable(folder)
    refuse_foreign(folder, names, setting)
    # All of them, before any has a record: where one has, the folder is of no earlier version any more.
    kept = [MadeFiles(folder / name) for name in names if name in _KEPT]
    for made in kept:
        made.keep(["*"])
    write_provenance(folder)
    remove_all_leftovers(folder, [PROVENANCE, *names])
    for name in names:
        for own in folder.glob(name):
            if own.is_dir() and not own.is_symlink():
                remove_all_leftovers(own, ["*"])


def refuse_foreign(folder: Path, leaves: Iterable[str], setting: str) -> None:
    """Refuse a folder in which a run would write over what no run of ours has left.

    Tables are known by what they begin with, files of a run's folders by what they hold, and the rest by the folder's
    provenance.

    Raises:
        UserError: If it is one.
    """
    if not folder.is_dir():
        return
    ours = is_made_here(folder)
    there = sorted(
        {
            found.name
            for name in (PROVENANCE, *leaves)
            for found in folder.glob(name)
            if not (ours if _head_of(found.name) is None else is_table(found))
        }
    )
    folders = [found for name in leaves for found in folder.glob(name) if found.is_dir()]
    there += sorted(
        f"{found.name}/{name}" for found in folders for name in MadeFiles(found).foreign(_KEPT.get(found.name, ()))
    )
    there += sorted(
        f"{found.name}/{file.name}"
        for found in folders
        for file in found.iterdir()
        if _head_of(file.name) is not None and not is_table(file)
    )
    _refuse(folder, there, setting)


def refuse_foreign_files(made: "MadeFiles", patterns: Iterable[str], setting: str) -> None:
    """Refuse a folder with files of these names, as patterns, that no run of ours has left as they are.

    Raises:
        UserError: If there are any.
    """
    _refuse(made.folder, made.foreign(patterns), setting)


def _refuse(folder: Path, foreign: list[str], setting: str) -> None:
    if foreign:
        raise UserError(
            f"{folder} holds {listed(foreign)}, which no run of this program has left and this one would write over; "
            f"name another folder: {setting}=DIR"
        )


@contextmanager
def kept_in_record(*files: Path) -> Iterator[None]:
    """Around the writing of files of a run's folder, so that they are known again.

    Raises:
        UserError: If one would be written over that no run has made, or that was changed since.
    """
    made, names = MadeFiles(files[0].parent), [file.name for file in files]
    made.begin(names)
    yield
    made.end(names)


class MadeFiles:
    """Files of a folder that runs of ours have written, known by what they hold: somebody may lay others beside them.

    Args:
        folder: It may not be there. One of an earlier version has no record: all in it is taken for a run's.
        record: Where it stands what is known; by default `.NAME.json` beside the folder.
    """

    def __init__(self, folder: Path, record: Path | None = None) -> None:
        self.folder, self.record = folder, record or folder.with_name(f".{folder.name}.json")
        run = self.record.parent
        # Pictures had a record before the others.
        records = [run / f".{name}.json" for name in _KEPT if name != "figures"]
        recorded = folder.name in _ALWAYS_RECORDED or any(file.exists() for file in (self.record, *records))
        self._is_old = folder.is_dir() and not recorded
        # By name; none of a file that was being written when a run was killed.
        self._hashes: dict[str, str | None] = self._read()

    def foreign(self, patterns: Iterable[str] = ()) -> list[str]:
        """Names of files that are not what was written, of those that were and of those that patterns find."""
        names = {*self._hashes, *self.found(patterns)}
        return sorted(name for name in names if not (self._is_old or self._is_ours(name)))

    def keep(self, patterns: Iterable[str]) -> None:
        """Begin a record where there is none, with the files of these patterns that an earlier version has left.

        What a run left that was killed while it wrote the record is removed: no other may be writing it now.
        """
        remove_leftovers(self.record)
        if not self.record.exists():
            self._note({name: self._now(name) for name in (self.found(patterns) if self._is_old else ())})

    def begin(self, names: Iterable[str]) -> None:
        """Before files are written.

        Raises:
            UserError: If one would be written over that no run has made, or that was changed since.
        """
        named = list(names)
        foreign = [name for name in named if not (self._is_old or self._is_ours(name))]
        if foreign:
            raise UserError(
                f"{self.folder / foreign[0]} is not what a run of this program has left, and would be written over; "
                "move it elsewhere, or give it another name"
            )
        self._note(dict.fromkeys(named))

    def end(self, names: Iterable[str]) -> None:
        """After they are written."""
        self._note({name: self._now(name) for name in names})

    def found(self, patterns: Iterable[str]) -> set[str]:
        """Names of the files that patterns find."""
        files = (file for pattern in patterns for file in self.folder.glob(pattern) if file.is_file())
        return {file.relative_to(self.folder).as_posix() for file in files}

    def _is_ours(self, name: str) -> bool:
        """Whether a file is a run's, or is not there."""
        now = self._now(name)
        return now is None or (name in self._hashes and self._hashes[name] in (None, now))

    def _now(self, name: str) -> str | None:
        """Hash of what a file holds; none where it is not there."""
        file = self.folder / name
        if not file.is_file():
            return None
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def _read(self) -> dict[str, str | None]:
        if not self.record.exists():
            return {}
        try:
            with self.record.open("rb") as stream:
                said = json.loads(stream.read(_MOST_RECORD))
            if not all(_is_below(name) and isinstance(known, str | None) for name, known in said.items()):
                raise ValueError("it names no files")
        except (OSError, ValueError, RecursionError, AttributeError) as error:
            raise UserError(
                f"{self.record} is no record of what runs have written to {self.folder.name}; move both elsewhere, or "
                "name another folder"
            ) from error
        found: dict[str, str | None] = said
        return found

    def _note(self, known: dict[str, str | None]) -> None:
        # Read again: another run may have written to the same folder meanwhile.
        self._hashes = {**self._hashes, **self._read(), **known}
        with written_whole(self.record) as temporary:
            temporary.write_text(json.dumps(self._hashes, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def _is_below(name: str) -> bool:
    """Whether a name is that of a file in a folder or below it."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and str(path) == name
