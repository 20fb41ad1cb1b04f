"""Where libraries keep what they want again where no home folder can be written, as in a container."""

import atexit
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

# Variables that move a library's folder, what moves its parent, and where it is without either, from home.
_FOLDERS = (
    ("WANDB_CACHE_DIR", "XDG_CACHE_HOME", ".cache"),
    ("WANDB_CONFIG_DIR", "XDG_CONFIG_HOME", ".config"),
    ("WANDB_DATA_DIR", "XDG_DATA_HOME", ".local/share"),
    ("MPLCONFIGDIR", "XDG_CONFIG_HOME", ".config"),
)
_COMPILED = "NUMBA_CACHE_DIR"


def have_a_home() -> str | None:
    """Give every library a folder that it can write, for as long as this process runs where there is no other.

    A home folder that cannot be written stays the home: what is in it can be read.

    Returns:
        What to tell the user; none where all is as usual.
    """
    home = _home()
    if home is None:
        os.environ["HOME"] = str(_for_this_process())
        return "there is no home folder (HOME): what is kept between runs is kept for this one only; set cache_dir too"
    moved = []
    for variable, parent, place in _FOLDERS:
        usual = Path(os.environ.get(parent) or home / place)
        if variable not in os.environ and not _can_be_written(usual):
            os.environ[variable] = str(_for_this_process() / variable.lower())
            moved.append(variable)
    return f"{home} cannot be written: {', '.join(moved)} are temporary folders" if moved else None


def keep_compiled(package: Path) -> None:
    """Have numba keep what it compiles where it can: without a folder for that it refuses to compile at all.

    Args:
        package: Folder with functions that are compiled; what comes of them is kept in it if it can be written.
    """
    given = os.environ.get(_COMPILED)
    home = _home()
    usual = [] if home is None else [Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "numba"]
    if any(map(_can_be_written, [Path(given)] if given else [package / "__pycache__", *usual])):
        return
    os.environ[_COMPILED] = str(_for_this_process() / "numba")
    if "numba" in sys.modules:
        # It has read the environment already.
        sys.modules["numba"].config.CACHE_DIR = os.environ[_COMPILED]


def lasts(folder: Path) -> bool:
    """Whether what is written to a folder is still there after this process."""
    made = _for_this_process.cache_info().currsize > 0
    return not (made and folder.absolute().is_relative_to(_for_this_process()))


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _can_be_written(folder: Path) -> bool:
    """Whether a folder is there or can be made, and then be written; nothing is made to find out."""
    nearest = next((place for place in (folder, *folder.absolute().parents) if place.exists()), None)
    return nearest is not None and nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


@cache
def _for_this_process() -> Path:
    """A folder that ends with this process; processes that it starts may write to it."""
    folder, owner = Path(tempfile.mkdtemp(prefix="sae-match-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
