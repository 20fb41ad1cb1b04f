"""What is kept between runs: how large, how old, and how it is removed; only what bears a name that we give."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sae_match.errors import UserError

_HASH = "[0-9a-f]{64}"
# By kind: the folder below the cache, and what the names of its files look like there. What a killed process was about
# to write begins with a dot.
_KINDS = {
    "matchings": ("matchings", re.compile(rf"{_HASH}\.safetensors")),
    "unfinished": ("matchings", re.compile(rf"{_HASH}\.(unfinished|lock)")),
    "leftovers": ("matchings", re.compile(rf"\.{_HASH}\.\w+\..+")),
    "validations": ("validations", re.compile(rf"\.?{_HASH}\..+")),
    "neuronpedia": ("neuronpedia", re.compile(r"[\w.-]+\.(json|parquet|jsonl|gz|lock)")),
}
#: What can be named.
KINDS = tuple(_KINDS)
_DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Kept:
    """Files of one kind.

    Attributes:
        kind: One of `KINDS`.
        files: Where they are.
        bytes: Of all of them.
        oldest: Days since the oldest was written; zero where there is none.
    """

    kind: str
    files: tuple[Path, ...]
    bytes: int
    oldest: float


def kept(folder: Path, kind: str, older_than: float = 0.0) -> Kept:
    """What a cache holds of a kind.

    Args:
        folder: The cache.
        kind: One of `KINDS`.
        older_than: Days; what was written since is left out.

    Raises:
        UserError: If there is no such kind.
    """
    if kind not in _KINDS:
        raise UserError(f"the cache holds no {kind!r}; it holds {', '.join(KINDS)}")
    now, found = time.time(), []
    for file in _files(folder, *_KINDS[kind]):
        try:
            known = file.stat()
        except FileNotFoundError:
            # Another process has just removed it.
            continue
        if now - known.st_mtime >= older_than * _DAY:
            found.append((file, known.st_size, (now - known.st_mtime) / _DAY))
    return Kept(
        kind,
        tuple(file for file, _, _ in found),
        sum(size for _, size, _ in found),
        max((age for _, _, age in found), default=0.0),
    )


def remove(one: Kept) -> None:
    """Remove what was found; folders stay.

    Raises:
        UserError: If a file cannot be removed.
    """
    for file in one.files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot remove {file}: {error.strerror or error}") from error


def _files(folder: Path, name: str, pattern: re.Pattern[str]) -> Iterator[Path]:
    """Files below a folder of the cache whose names are such as we give; links are not followed."""
    for file in sorted((folder / name).rglob("*")):
        if pattern.fullmatch(file.name) and file.is_file() and not file.is_symlink():
            yield file
