"""One module a file format; each turns a location into an `SAE`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from sae_match.errors import UserError, shown
from sae_match.saes.formats import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    gemma_scope_2_crosscoder,
    llama_scope,
    llamascopium,
    qwen_scope,
    sae_lens,
    sparsify,
    state_dict,
)
from sae_match.saes.formats.looking import Description, look
from sae_match.saes.formats.shared.building import refuse_overflow
from sae_match.saes.formats.shared.describing import SAEDescription
from sae_match.saes.formats.shared.hub import SAEFile, fetch_if_any, locate
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.sae import SAE
from sae_match.saes.settings import refuse_unknown_format

__all__ = [
    "FORMATS",
    "Description",
    "Format",
    "SAEDescription",
    "SAEFile",
    "describe",
    "describe_sae",
    "load_sae",
    "sae_files",
]

#: In place of a format: the one that the source is in.
AUTO = "auto"


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        load: Takes a source and what picks the SAE within it; gives the SAE.
        paths: Takes what picks the SAE; gives the paths of its files inside the source.
        describe: Takes what `load` takes; gives what the small files say.
        layout: How its files are named.
    """

    load: Callable[..., SAE]
    paths: Callable[..., Sequence[str]]
    describe: Callable[..., SAEDescription]
    layout: Layout


_MODULES = (
    *(gemma_scope, gemma_scope_2, gemma_scope_2_crosscoder, llama_scope, llamascopium, qwen_scope),
    *(circuit_tracer, sae_lens, sparsify, dictionary_learning, state_dict),
)
FORMATS: dict[str, Format] = {
    module.__name__.rpartition(".")[2]: Format(module.load, module.paths, module.describe, module.LAYOUT)
    for module in _MODULES
}


def load_sae(format: str, source: str, **which: Any) -> SAE:
    """Load one SAE.

    Args:
        format: File format, one of `FORMATS`; `auto` for the one that the source is in, which `describe` says.
        source: A local folder or a repository of the Hugging Face hub.
        which: What picks the SAE within the source; see the format's own `load`. With `auto`, as much of it as is
            needed to pick one, and nothing where there is just one.

    Raises:
        UserError: If the format is unknown, or there is no such SAE, or its file is not sound.
    """
    if format == AUTO:
        found = describe(source, which.get("revision"))
        return load_sae(found.format, found.source, **{**which, **found.picked(which).which})
    _bound(format, source, which)
    sae = FORMATS[format].load(source, **which)
    refuse_overflow(source, sae)
    return sae


def describe(source: str, revision: str | None = None) -> Description:
    """What a folder or a repository holds: its format, and layers, sites, widths and L0s of its dictionaries.

    Names of files and small files are all that is read.

    Args:
        source: A local folder or a repository of the Hugging Face hub.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If it is in no format that is known here, or several fit, or the hub refuses.
    """
    return look(source, revision, {name: one.layout for name, one in FORMATS.items()}, describe_sae)


def sae_files(format: str, source: str, **which: Any) -> list[SAEFile]:
    """The files that `load_sae` would read; nothing large is downloaded: of most, what the hub says about them.

    Args:
        format: File format, one of `FORMATS`.
        source: A local folder or a repository of the Hugging Face hub.
        which: What picks the SAE within the source; see the format's own `load`.

    Raises:
        UserError: If the format is unknown, or there is no such SAE, or the hub refuses.
    """
    given = _bound(format, source, which).arguments
    needed: Sequence[str] = _called(FORMATS[format].paths, given)
    optional, revision = FORMATS[format].layout.optional, given["revision"]
    there = (
        path
        for path in needed
        if path.rpartition("/")[2] not in optional or fetch_if_any(source, path, revision) is not None
    )
    return [locate(source, path, revision) for path in there]


def describe_sae(format: str, source: str, **which: Any) -> SAEDescription:
    """What an SAE is, as far as the small files beside its parameters say it; they are all that is read.

    Args:
        format: File format, one of `FORMATS`.
        source: A local folder or a repository of the Hugging Face hub.
        which: What picks the SAE within the source; see the format's own `load`.

    Raises:
        UserError: If the format is unknown, there is no such SAE, the hub refuses, or a file is not sound.
    """
    given = _bound(format, source, which).arguments
    described: SAEDescription = _called(FORMATS[format].describe, given)
    return described


def _called(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """What a function gives for those of the arguments that it takes."""
    return function(**{name: given[name] for name in inspect.signature(function).parameters})


def _bound(format: str, source: str, which: dict[str, Any]) -> inspect.BoundArguments:
    """What a format's `load` is called with, defaults included."""
    refuse_unknown_format(format)
    loader = inspect.signature(FORMATS[format].load)
    try:
        bound = loader.bind(source, **which)
    except TypeError as error:
        options = ", ".join(list(loader.parameters)[1:])
        raise UserError(f"SAE format {format!r}: {error}; it takes {options}") from error
    bound.apply_defaults()
    for name, kind in get_type_hints(FORMATS[format].load).items():
        if name != "return" and not _is_of(kind, bound.arguments[name]):
            raise UserError(f"SAE format {format!r}: {name} must be {_plain(kind)}, got {shown(bound.arguments[name])}")
    return bound


def _is_of(kind: Any, value: object) -> bool:
    """Whether a value is of a simple type, or of one of several; a whole number is a number."""
    kinds = get_args(kind) or (kind,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (float in kinds and isinstance(value, int))


def _plain(kind: Any) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    return " or ".join(names[one] for one in get_args(kind) or (kind,))
