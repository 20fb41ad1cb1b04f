"""A file of a source that is either a local folder or a repository of the Hugging Face hub."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path, PurePosixPath

import httpx2
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)

from sae_match.errors import UserError
from sae_match.hub import hub_errors

_NUMBERED = re.compile(r"(.*\D)(\d+)")
_SHOWN = 12
# Of a folder that is looked through; Gemma Scope 2 has 12,000 in its largest repository.
_MOST_FILES = 100_000
_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class SAEFile:
    """A file that an SAE is read from.

    Attributes:
        path: Path inside its source.
        bytes: Its size; zero where the hub does not say.
        is_local: Whether it is on this machine, in a folder or in the hub's cache.
    """

    path: str
    bytes: int
    is_local: bool


def fetch(source: str, path: str, revision: str | None = None) -> Path:
    """Local path of the file `path` of `source`, downloaded into the hub's cache if need be.

    Args:
        source: A folder, or a repository such as `google/gemma-scope-2b-pt-res`.
        path: Path of the file inside it.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such file, the hub cannot be reached or refuses, or what lies in its cache is
            not what the hub has.
    """
    folder = _local(source)
    if folder is not None:
        return _file_in(folder, path)
    with _hub_answers(source, path, revision):
        file = Path(hf_hub_download(source, path, revision=revision))
    stored = file.resolve()
    _refuse_other_content(stored, stored.stat().st_mtime_ns)
    return file


def fetch_if_any(source: str, path: str, revision: str | None = None) -> Path | None:
    """Local path of a file that a source need not have, as `fetch` gives it; none if it has none.

    Raises:
        UserError: What `fetch` would raise, but for a file that is not there.
    """
    folder = _local(source)
    if folder is not None and not (folder / path).is_file():
        return None
    with _hub_answers(source, path, revision):
        try:
            if folder is None:
                hf_hub_download(source, path, revision=revision)
        except RemoteEntryNotFoundError:
            return None
    return fetch(source, path, revision)


def on_this_machine(source: str, path: str, revision: str | None = None) -> Path | None:
    """Where a file is on this machine, in a folder or in the hub's cache; none if it would have to be downloaded.

    Args:
        source: A folder, or a repository.
        path: Path of the file inside it.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If the source is neither, or a folder that has no such file.
    """
    folder = _local(source)
    if folder is not None:
        return _file_in(folder, path)
    with _hub_answers(source, path, revision):
        cached = try_to_load_from_cache(source, path, revision=revision)
    return Path(cached) if isinstance(cached, str) else None


def locate(source: str, path: str, revision: str | None = None) -> SAEFile:
    """What there is to know about a file without downloading it.

    Args:
        source: A folder, or a repository.
        path: Path of the file inside it.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: What `fetch` would raise.
    """
    file = on_this_machine(source, path, revision)
    if file is not None:
        return SAEFile(path, file.stat().st_size, is_local=True)
    with _hub_answers(source, path, revision):
        size = get_hf_file_metadata(hf_hub_url(source, path, revision=revision)).size
    return SAEFile(path, size or 0, is_local=False)


def files_of(source: str, revision: str | None = None) -> list[str]:
    """Paths of all files of a source, as far as they are not hidden; nothing is downloaded.

    Args:
        source: A folder, or a repository.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If the source is neither, or the hub cannot be reached or refuses.
    """
    folder = _local(source)
    if folder is None:
        with hub_errors(source):
            return HfApi().list_repo_files(source, revision=revision)
    # Links are not followed: one that leads above would be endless.
    found = (one.relative_to(folder).as_posix() for one in islice(folder.rglob("*"), _MOST_FILES) if one.is_file())
    return [name for name in found if not any(part.startswith(".") for part in name.split("/"))]


def _local(source: str) -> Path | None:
    """The folder that a source is, or nothing if it can be a repository."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise UserError(f"{source} is neither a folder nor a repository of the form owner/name")
    return None


def _file_in(folder: Path, path: str) -> Path:
    file = folder / path
    if file.is_file():
        return file
    existing = next(above for above in (*file.parents, folder) if above.is_dir())
    where = folder if existing == folder else existing.relative_to(folder)
    missing = file.relative_to(existing).parts[0]
    raise UserError(f"no file {path} in {folder}{_offer(where, missing, (entry.name for entry in existing.iterdir()))}")


# Once for each file of a process: a large one takes seconds.
@cache
def _refuse_other_content(stored: Path, _: int) -> None:
    """Check a file of the hub's cache against its name there: the checksum that the hub says it has.

    Large files are named by their SHA-256, others as git names their content. Safetensors hold no checksum of
    their own.

    Args:
        stored: The file, behind all links.
        _: When it was changed: what has been changed since is looked at anew.

    Raises:
        UserError: If it holds something else.
    """
    if stored.parent.name != "blobs" or not _CHECKSUM.fullmatch(stored.name):
        return
    if len(stored.name) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % stored.stat().st_size, usedforsecurity=False)
    with stored.open("rb") as stream:
        hashlib.file_digest(stream, lambda: digest)
    if digest.hexdigest() != stored.name:
        raise UserError(
            f"{stored} is damaged (its checksum is not the one that the hub names); remove it and fetch it again"
        )


@contextmanager
def _hub_answers(source: str, path: str, revision: str | None) -> Iterator[None]:
    """Turn every failure of the hub inside the block into a `UserError`."""
    try:
        with hub_errors(f"{source}/{path}"):
            try:
                yield
            except RemoteEntryNotFoundError as error:
                offer = _offer_of_repository(source, path, revision)
                raise UserError(f"repository {source} has no file {path}{offer}") from error
    except UserError as error:
        raise type(error)(f"{error}{_of_folder_of_owner(source, error)}") from error


def _of_folder_of_owner(source: str, error: UserError) -> str:
    """What to say to those who meant a folder and misspelt it: it is looked for on the hub all the same."""
    owner, _, name = source.partition("/")
    if not Path(owner).is_dir():
        return ""
    cause = error.__cause__
    if isinstance(cause, RepositoryNotFoundError) and not isinstance(cause, GatedRepoError):
        return f"; {source} is neither a folder nor a repository: the folder {owner} here holds no {name}"
    return f"; the folder {owner} here holds no {name} either"


def _offer_of_repository(source: str, path: str, revision: str | None) -> str:
    """What the nearest folder above a missing file holds that the repository has; nothing if it does not say."""
    inside = PurePosixPath(path)
    for folder in inside.parents:
        at_root = folder == PurePosixPath()
        try:
            entries = HfApi().list_repo_tree(source, None if at_root else str(folder), revision=revision)
            names = [PurePosixPath(entry.path).name for entry in entries]
        except EntryNotFoundError:
            continue
        except (httpx2.HTTPError, OSError):
            return ""
        return _offer(source if at_root else folder, inside.relative_to(folder).parts[0], names)
    return ""


def _offer(where: object, missing: str, names: Iterable[str]) -> str:
    """What there is instead of a name, and the nearest of it where names differ in a closing number."""
    held = sorted(names, key=natural)
    shown = f"; {where} holds {', '.join(held[:_SHOWN]) or 'nothing'}{' …' if len(held) > _SHOWN else ''}"
    nearest = _nearest(missing, held)
    return shown if nearest is None else f"{shown}; the nearest to {missing} is {nearest}"


def _nearest(missing: str, names: Iterable[str]) -> str | None:
    wanted = _NUMBERED.fullmatch(missing)
    if wanted is None:
        return None
    numbered = (_NUMBERED.fullmatch(name) for name in names)
    numbers = [int(match[2]) for match in numbered if match is not None and match[1] == wanted[1]]
    if not numbers:
        return None
    return f"{wanted[1]}{min(numbers, key=lambda number: (abs(number - int(wanted[2])), number))}"


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which `layer_9` comes before `layer_10`."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]
