"""One module a file format; each turns a location into an `SAE`."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sae_match.errors import UserError
from sae_match.saes.formats import (
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    llama_scope,
    sae_lens,
    sparsify,
)
from sae_match.saes.formats.hub import SAEFile, locate
from sae_match.saes.sae import SAE

__all__ = ["FORMATS", "Format", "SAEFile", "load_sae", "sae_files"]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        load: Takes a source and what picks the SAE within it; gives the SAE.
        paths: Takes what picks the SAE; gives the paths of its files inside the source.
    """

    load: Callable[..., SAE]
    paths: Callable[..., Sequence[str]]


FORMATS: dict[str, Format] = {
    "gemma_scope": Format(gemma_scope.load, gemma_scope.paths),
    "gemma_scope_2": Format(gemma_scope_2.load, gemma_scope_2.paths),
    "llama_scope": Format(llama_scope.load, llama_scope.paths),
    "sae_lens": Format(sae_lens.load, sae_lens.paths),
    "sparsify": Format(sparsify.load, sparsify.paths),
    "dictionary_learning": Format(dictionary_learning.load, dictionary_learning.paths),
}


def load_sae(format: str, source: str, **which: Any) -> SAE:
    """Load one SAE.

    Args:
        format: File format, one of `FORMATS`.
        source: A local folder or a repository of the Hugging Face hub.
        which: What picks the SAE within the source; see the format's own `load`.

    Raises:
        UserError: If the format is unknown, or there is no such SAE, or its file is not sound.
    """
    _bound(format, source, which)
    return FORMATS[format].load(source, **which)


def sae_files(format: str, source: str, **which: Any) -> list[SAEFile]:
    """The files that `load_sae` would read; nothing is downloaded but what the hub says about them.

    Args:
        format: File format, one of `FORMATS`.
        source: A local folder or a repository of the Hugging Face hub.
        which: What picks the SAE within the source; see the format's own `load`.

    Raises:
        UserError: If the format is unknown, or there is no such SAE, or the hub refuses.
    """
    given = _bound(format, source, which).arguments
    paths = FORMATS[format].paths
    needed = paths(**{name: given[name] for name in inspect.signature(paths).parameters})
    return [locate(source, path, given["revision"]) for path in needed]


def _bound(format: str, source: str, which: dict[str, Any]) -> inspect.BoundArguments:
    """What a format's `load` is called with, defaults included."""
    if format not in FORMATS:
        raise UserError(f"unknown SAE format {format!r}; there are {', '.join(FORMATS)}")
    loader = inspect.signature(FORMATS[format].load)
    try:
        bound = loader.bind(source, **which)
    except TypeError as error:
        options = ", ".join(list(loader.parameters)[1:])
        raise UserError(f"SAE format {format!r}: {error}; it takes {options}") from error
    bound.apply_defaults()
    return bound
