"""What looks like an SAE and is none: transcoders, which read one place and write another."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from sae_match.errors import UserError, listed, shown

# A linear map from the input to the output, beside the features; no format's SAEs have one.
_CONNECTIONS = ("W_skip", "w_skip", "b_skip", "skip_connection", "affine_skip_connection")
# Nor a bias of the place that is written, where that is another than the one that is read.
_WRITTEN = "b_dec_out"
# The arrays of these have the names and shapes of an SAE's; only the repository's name says it.
_REPOSITORIES = re.compile(r"gemma-scope-[\w-]*(transcoder|crosscoder)s?\b")


# Files of what no format here can hold, and why.
UNREADABLE = {
    r"(?:.*/)?W_(?:enc|dec)_\d+\.safetensors": (
        "cross-layer transcoders write every later layer: one decoder for each, which no single dictionary stands for"
    ),
    r"(?:.*/)?latest_ckpt\.safetensors": (
        "temporal SAEs encode a token by looking at the tokens before it, which no weights of one token do"
    ),
}


def unreadable(names: Iterable[str]) -> str | None:
    """Why a source with such files can be read by no format here; none where that is not known."""
    given = list(names)
    found = (why for pattern, why in UNREADABLE.items() if any(re.fullmatch(pattern, name) for name in given))
    return next(found, None)


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


def refuse_other_names(file: Path, names: Iterable[str], known: Iterable[str]) -> None:
    """Check that a file holds nothing but what the SAEs of its layout have.

    What else is there does something that the loader would leave out, so that the SAE would be another one.

    Raises:
        UserError: If it holds anything else.
    """
    held, mine = list(names), set(known)
    refuse_connection(file, (name for name in held if name not in mine))
    other = [name for name in held if name not in mine]
    if not other:
        return
    if _WRITTEN in other:
        raise UserError(f"{file} holds {_WRITTEN}, a bias of another place that is written: a transcoder, no SAE")
    raise UserError(
        f"{file} holds {listed(other)}, which SAEs of this layout do not have ({listed(known)}): what they do is not "
        "known here, and the SAE would be another one without them"
    )


def refuse_factors(file: Path, tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of a file without factors of features or outputs, which must be one, so that they change nothing.

    Args:
        file: Where they come from.
        tensors: All of them.
        names: Of the factors that may be there.

    Raises:
        UserError: If a factor is not one.
    """
    kept = dict(tensors)
    for name in names:
        factor = kept.pop(name, None)
        if factor is not None and not torch.allclose(factor.double(), torch.ones_like(factor, dtype=torch.float64)):
            raise UserError(f"{file}: {name} is not one; SAEs with a scale or a mask of their own are not supported")
    return kept


def named_transcoders(source: str) -> bool:
    """Whether a source, a repository or a copy of one under its name, is one of the published transcoders.

    Raises:
        UserError: If it is one of crosscoders.
    """
    named = [match[1] for part in Path(source).expanduser().parts if (match := _REPOSITORIES.search(part))]
    if "crosscoder" in named:
        raise UserError(f"{source} holds crosscoders by its name, whose features read several layers: no SAEs")
    return bool(named)


def _name(hook: object) -> str:
    return listed([hook]) if isinstance(hook, str) else shown(hook)
