"""One module a file format; each turns a location into an `SAE`."""

import inspect
from collections.abc import Callable
from typing import Any

from sae_match.errors import UserError
from sae_match.saes.formats import gemma_scope
from sae_match.saes.sae import SAE

FORMATS: dict[str, Callable[..., SAE]] = {"gemma_scope": gemma_scope.load}


def load_sae(format: str, source: str, **which: Any) -> SAE:
    """Load one SAE.

    Args:
        format: File format, one of `FORMATS`.
        source: A local folder or a repository of the Hugging Face hub.
        which: What picks the SAE within the source; see the format's own `load`.

    Raises:
        UserError: If the format is unknown, or there is no such SAE, or its file is not sound.
    """
    if format not in FORMATS:
        raise UserError(f"unknown SAE format {format!r}; there are {', '.join(FORMATS)}")
    loader = inspect.signature(FORMATS[format])
    try:
        loader.bind(source, **which)
    except TypeError as error:
        options = ", ".join(list(loader.parameters)[1:])
        raise UserError(f"SAE format {format!r}: {error}; it takes {options}") from error
    return FORMATS[format](source, **which)
