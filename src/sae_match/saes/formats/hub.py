"""A file of a source that is either a local folder or a repository of the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
)

from sae_match.errors import UserError


def fetch(source: str, path: str, revision: str | None = None) -> Path:
    """Local path of the file `path` of `source`, downloaded into the hub's cache if need be.

    Args:
        source: A folder, or a repository such as `google/gemma-scope-2b-pt-res`.
        path: Path of the file inside it.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such file, or the hub cannot be reached or refuses.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        file = folder / path
        if not file.is_file():
            raise UserError(f"no file {path} in {folder}{_offer(file)}")
        return file
    looks_local = folder.parent != Path() and folder.parent.is_dir()
    if looks_local or source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise UserError(f"{source} is neither a folder nor a repository of the form owner/name")
    try:
        return Path(hf_hub_download(source, path, revision=revision))
    except HFValidationError as error:
        raise UserError(f"{source} is neither a folder nor the name of a repository") from error
    except LocalEntryNotFoundError as error:
        raise UserError(f"cannot reach the hub for {source}/{path}, and it is not in the local cache") from error
    except EntryNotFoundError as error:
        raise UserError(f"repository {source} has no file {path}") from error
    except HfHubHTTPError as error:
        raise UserError(
            f"the hub refuses {source}/{path}: {error}; for a gated repository accept its terms and log in with "
            "`hf auth login`"
        ) from error


def _offer(missing: Path) -> str:
    """The nearest folder above a missing file that exists, and what it holds."""
    folder = missing.parent
    while not folder.is_dir():
        folder = folder.parent
    names = sorted(entry.name for entry in folder.iterdir())
    return f"; {folder.name or folder} holds {', '.join(names[:12]) or 'nothing'}{' …' if len(names) > 12 else ''}"
