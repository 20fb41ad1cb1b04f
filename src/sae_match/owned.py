"""What the package made itself: nothing else is ever removed or written over."""

import json
from collections.abc import Iterable
from pathlib import Path

from sae_match.errors import UserError
from sae_match.files import remove_all_leftovers, writable
from sae_match.version import PROVENANCE, write_provenance

_MADE_BY = "package_version"
# What tables of ours begin with, of earlier versions too: each is known by itself, also in a folder that users share.
_HEADS = {
    "results.csv": "source_layer,target_layer,",
    "spans.csv": "span,",
    "warnings.csv": "kind,where,",
    "matchings.csv": "source_layer,target_layer,",
    "composition.csv": "source_layer,target_layer,",
    "comparison.csv": "run,",
    "comparison_by_layer.csv": "run,",
    "agreement.csv": "agreement_of,",
    "benchmark.csv": "case,",
}
_MOST = 1 << 16


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

    Tables are known by what they begin with; the rest by the folder's provenance.

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
    if there:
        raise UserError(
            f"{folder} holds {', '.join(there)}, which no run of this program has left and this one would write over; "
            f"name another folder: {setting}=DIR"
        )
