"""Which version of the package it is, and which commit in a checkout: what results say they were made by."""

import importlib.metadata
import json
import subprocess
from functools import cache
from pathlib import Path

from sae_match.files import written_whole

#: File in a run's folder that says what made it.
PROVENANCE = "provenance.json"

_PATIENCE = 5.0
_UNKNOWN = "unknown"


@cache
def version() -> str:
    """Version of the installed package; `unknown` where its files are used without being installed."""
    try:
        return importlib.metadata.version("sae-match")
    except importlib.metadata.PackageNotFoundError:
        return _UNKNOWN


@cache
def commit() -> str | None:
    """Commit of the checkout that the package is used from, with `+changes` where its files differ from it.

    None where it is not used from a checkout, or git cannot say.
    """
    package = Path(__file__).resolve().parent
    root = package.parents[1]
    # Not any repository that the package was installed somewhere below.
    if package != root / "src" / "sae_match" or not (root / ".git").exists():
        return None
    found = _git(root, "rev-parse", "HEAD")
    if not found:
        return None
    return f"{found}+changes" if _git(root, "status", "--porcelain", "--untracked-files=no", "--", "src") else found


def provenance() -> dict[str, str]:
    """What a result says it was made by: `package_version` and, in a checkout, `commit`."""
    at = commit()
    return {"package_version": version(), **({} if at is None else {"commit": at})}


def write_provenance(folder: Path) -> None:
    """Leave what made a run in its folder.

    Raises:
        UserError: If the folder cannot be written.
    """
    with written_whole(folder / PROVENANCE) as temporary:
        temporary.write_text(f"{json.dumps(provenance(), indent=2)}\n", encoding="utf-8")


def _git(folder: Path, *question: str) -> str | None:
    """What git says about a checkout; none where it is not there, or does not answer."""
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), *question], capture_output=True, text=True, check=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()
