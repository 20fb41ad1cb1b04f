"""How a format names its files: from the list of what lies in a source to the SAEs that it holds."""

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# What is a number, of what names of files hold.
_NUMBERS = ("layer", "expansion", "view", "l0")


@dataclass(frozen=True)
class Layout:
    """How a format names its files.

    Attributes:
        weights: Pattern of the path of the tensors of an SAE, whole; its named groups are what picks that SAE, as the
            format's `load` takes it, `path` the folder of the SAE (or the file's own).
        beside: Names of files that lie in the same folder; of them, one alternative of `a|b` is enough.
        example: Such a path, for people.
        anything: Whether files of other formats could have such a name too.
        optional: Names of files that are read where they are there.
    """

    weights: str
    beside: tuple[str, ...] = ()
    example: str = ""
    anything: bool = False
    optional: tuple[str, ...] = ()

    def found_in(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What picks each SAE that a list of paths holds, by the path of its tensors."""
        held = set(names)
        found = {}
        for name in sorted(held):
            match = re.fullmatch(self.weights, name)
            if match is not None and not self.lacking(name, held):
                found[name] = _picked(match.groupdict())
        return found

    def lacking(self, name: str, held: set[str]) -> list[str]:
        """Files that a file of tensors of this layout goes with and that are not there."""
        wanted = [[_beside(name, one) for one in each.split("|")] for each in self.beside]
        return [" or ".join(ways) for ways in wanted if not held & set(ways)]

    def missing(self, names: Iterable[str]) -> str:
        """What a list of paths lacks for this layout, for people."""
        held = set(names)
        mine = (name for name in sorted(held) if re.fullmatch(self.weights, name))
        lacking = [one for name in mine for one in self.lacking(name, held)]
        return f"{lacking[0]} is missing" if lacking else f"no file like {self.example}"


def _picked(groups: Mapping[str, str | None]) -> dict[str, Any]:
    given = {key: value for key, value in groups.items() if value is not None}
    if "path" in given:
        given["path"] = given["path"].strip("/") or "."
    numbers = {key: int(value) for key, value in given.items() if key in _NUMBERS and value.isdecimal()}
    return {**given, **numbers}


def _beside(name: str, other: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), other))
