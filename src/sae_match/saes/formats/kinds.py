"""What looks like an SAE and is none: transcoders, which read one place and write another."""

import re
from collections.abc import Iterable
from pathlib import Path

from sae_match.errors import UserError, listed, shown

# A linear map from the input to the output, beside the features; no format's SAEs have one.
_CONNECTIONS = ("W_skip", "w_skip", "b_skip", "skip_connection", "affine_skip_connection")
# The arrays of these have the names and shapes of an SAE's; only the repository's name says it.
_REPOSITORIES = re.compile(r"gemma-scope-[\w-]*(?:transcoder|crosscoder)s?\b")


def refuse_transcoder(file: Path, read: object, written: object) -> None:
    """Check that an SAE writes what it reads, where its file says what it writes.

    Raises:
        UserError: If it writes another place.
    """
    if written is not None and read != written:
        raise UserError(f"{file}: it reads {_name(read)} and writes {_name(written)}: a transcoder, no SAE")


def refuse_connection(file: Path, names: Iterable[str]) -> None:
    """Check that a file holds no connection beside the features, by the names of its tensors.

    Raises:
        UserError: If it holds one.
    """
    found = [name for name in names if name in _CONNECTIONS]
    if found:
        raise UserError(f"{file} holds {listed(found)}, a connection beside the features: a transcoder, no SAE")


def refuse_repository_of_transcoders(source: str) -> None:
    """Check that a source, a repository or a copy of one under its name, is none of the published transcoders.

    Raises:
        UserError: If it is.
    """
    if any(_REPOSITORIES.search(part) for part in Path(source).expanduser().parts):
        raise UserError(
            f"{source} holds transcoders by its name, which write another place than they read: no SAEs; "
            "the SAEs are in google/gemma-scope-2b-pt-res, -mlp and -att"
        )


def _name(hook: object) -> str:
    return listed([hook]) if isinstance(hook, str) else shown(hook)
