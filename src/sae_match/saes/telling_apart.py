"""What two collections are called, so that names of files and columns tell them apart."""

import re
from collections.abc import Sequence
from pathlib import Path

from sae_match.saes.collection import SAECollection

# What is no part of a name of files and columns; `@` stands between a layer and its collection.
_LONGEST = 40
_NOT_NAMED = re.compile(r"[^\w.=+-]+")


def told_apart(source: SAECollection, target: SAECollection, models: tuple[str, str] | None = None) -> tuple[str, str]:
    """Names of two collections: as they are called, else by the end of their folder, more of it where those agree.

    The same SAEs on two models are told apart by these.
    """
    both = (source, target)
    candidates = [
        [one.name or _named(one.source, 1) for one in both],
        [one.name or _named(one.source, 2) for one in both],
        [f"{one.name or _named(one.source, 1)}{_picked(one, _unlike(*both))}" for one in both],
    ]
    if models is not None:
        by_model = (_named(model, parts) for parts in (1, 2) for model in models)
        names = [f"{one.name or _named(one.source, 1)}_{model}" for one, model in zip(both * 2, by_model, strict=True)]
        candidates += [names[:2], names[2:]]
    for first, second in candidates:
        # Some file systems, and whoever searches, take large letters for small ones.
        if first.casefold() != second.casefold() and max(len(first), len(second)) <= _LONGEST:
            return first, second
    first, second = (name[: _LONGEST - len("_source")] for name in candidates[0])
    return f"{first}_source", f"{second}_target"


def _named(source: str, parts: int) -> str:
    """The last parts of a folder or a repository, as a part of names of files."""
    return _as_name("_".join(Path(source).parts[-parts:]))


def _as_name(text: str) -> str:
    return _NOT_NAMED.sub("_", text).strip("_.=+-")[:_LONGEST] or "saes"


def _unlike(source: SAECollection, target: SAECollection) -> Sequence[str]:
    """What picks SAEs by one value in the whole of each collection, and by another one in the other."""
    found = []
    for key in {key: None for one in (source, target) for which in one.layers.values() for key in which}:
        values = [{str(which.get(key, "")) for which in one.layers.values()} for one in (source, target)]
        if values[0] != values[1] and max(map(len, values)) == 1:
            found.append(key)
    return found


def _picked(one: SAECollection, keys: Sequence[str]) -> str:
    which = next(iter(one.layers.values()), {})
    return "".join(f"_{_as_name(str(which[key]))}" for key in keys if key in which)
