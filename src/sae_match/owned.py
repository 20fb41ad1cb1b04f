"""What the package made itself: nothing else is ever removed or written over."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from sae_match.errors import UserError
from sae_match.files import remove_all_leftovers, writable, written_whole
from sae_match.version import PROVENANCE, write_provenance

_MADE_BY = "package_version"
# What tables of ours begin with, of earlier versions too: each is known by itself, also in a folder that users share.
_HEADS = {
    "results.csv": "source_layer,target_layer,",
    "spans.csv": "span,",
    "differences.csv": "span,",
    "warnings.csv": "kind,where,",
    "matchings.csv": "source_layer,target_layer,",
    "composition.csv": "source_layer,target_layer,",
    "comparison.csv": "run,",
    "comparison_by_layer.csv": "run,",
    "comparison_differences.csv": "run,",
    "comparison_over_seeds.csv": "seeds,",
    "agreement.csv": "agreement_of,",
    "benchmark.csv": "case,",
}
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
    return file.is_file() and (begin_of(file).startswith(_HEADS[file.name]) or file.stat().st_size == 0)


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
    write_provenance(folder)
    remove_all_leftovers(folder, [PROVENANCE, *names])
    for name in names:
        for own in folder.glob(name):
            if own.is_dir() and not own.is_symlink():
                remove_all_leftovers(own, ["*"])


def refuse_foreign(folder: Path, leaves: Iterable[str], setting: str) -> None:
    """Refuse a folder in which a run would write over what no run of ours has left.

    Tables are known by what they begin with, files of a folder with a record by what they hold, and the rest by the
    folder's provenance.

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
            if not (is_table(found) if found.name in _HEADS else ours)
        }
    )
    folders = (found for name in leaves for found in folder.glob(name) if found.is_dir())
    there += sorted(f"{found.name}/{name}" for found in folders for name in MadeFiles(found).changed())
    if there:
        raise UserError(
            f"{folder} holds {', '.join(there)}, which no run of this program has left and this one would write over; "
            f"name another folder: {setting}=DIR"
        )


class MadeFiles:
    """Files of a folder that runs of ours have written, known by what they hold: somebody may lay others beside them.

    What is known stands beside the folder, in `.NAME.json`.

    Args:
        folder: It may not be there. One of an earlier version has no record: all in it is taken for a run's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.record = folder, folder.with_name(f".{folder.name}.json")
        self._is_old = folder.is_dir() and not self.record.exists()
        # By name; none of a file that was being written when a run was killed.
        self._hashes: dict[str, str | None] = self._read()

    def changed(self) -> list[str]:
        """Names of those that are not what was written any more."""
        return [name for name, known in self._hashes.items() if known and self._now(name) not in (None, known)]

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
        self._hashes.update(dict.fromkeys(named))
        self._write()

    def end(self, names: Iterable[str]) -> None:
        """After they are written."""
        self._hashes.update({name: self._now(name) for name in names})
        self._write()

    def _is_ours(self, name: str) -> bool:
        """Whether a file is a run's, or is not there."""
        now = self._now(name)
        return now is None or (name in self._hashes and self._hashes[name] in (None, now))

    def _now(self, name: str) -> str | None:
        """Hash of what a file holds; none where it is not there."""
        file = self.folder / name
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None

    def _read(self) -> dict[str, str | None]:
        if not self.record.exists():
            return {}
        try:
            with self.record.open("rb") as stream:
                said = json.loads(stream.read(_MOST_RECORD))
            if not all(Path(name).name == name and isinstance(known, str | None) for name, known in said.items()):
                raise ValueError("it names no files")
        except (OSError, ValueError, RecursionError, AttributeError) as error:
            raise UserError(
                f"{self.record} is no record of what runs have written to {self.folder.name}; move both elsewhere, or "
                "name another folder"
            ) from error
        found: dict[str, str | None] = said
        return found

    def _write(self) -> None:
        with written_whole(self.record) as temporary:
            temporary.write_text(json.dumps(self._hashes, indent=0, sort_keys=True) + "\n", encoding="utf-8")
