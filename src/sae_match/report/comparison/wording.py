"""What tells runs apart, in words short enough for tables and pictures."""

import re
from collections.abc import Mapping, Sequence

from sae_match.report.runs import Setting

# The part of a setting's name that says which layer it is of.
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
# Settings alike but for their layer are told one by one up to here.
_FEW = 2


def shown(value: Setting) -> str:
    """A setting's value as text."""
    return "none" if value is None else str(value)


def words(settings: Mapping[str, Setting]) -> str:
    """Settings in a line: `matcher=folded, text.seed=1`.

    The same setting of several layers is told once: `sae.layers.0…7.l0=2,2,4,6,8,9,10,10`, and of a value
    that all of them have `sae.layers.0…7.l0=12`.
    """
    return ", ".join(part for names in _alike(settings) for part in _told(names, settings))


def setting_in_words(name: str) -> str:
    """What the axis of a setting is called: `L0 of layer 3 (sae.layers.3.l0)`; one without parts is a word."""
    parts = name.split(".")
    if len(parts) == 1:
        return name.replace("_", " ")
    last = "L0" if parts[-1] == "l0" else parts[-1].replace("_", " ")
    of = f"layer {found[0]}" if (found := _NUMBER.search(name)) else parts[-2].replace("_", " ")
    return f"{last} of {of} ({name})"


def _alike(settings: Mapping[str, Setting]) -> list[list[str]]:
    """Names that differ in a layer only are together, in the order of their layers."""
    found: dict[str, list[str]] = {}
    for name in settings:
        found.setdefault(_NUMBER.sub("#", name, count=1), []).append(name)
    return [sorted(names, key=_layer) if len(names) > _FEW else names for names in found.values()]


def _told(names: Sequence[str], settings: Mapping[str, Setting]) -> list[str]:
    values = [shown(settings[name]) for name in names]
    if len(names) <= _FEW:
        return [f"{name}={value}" for name, value in zip(names, values, strict=True)]
    which = _NUMBER.sub(_range(list(map(_layer, names))), names[0], count=1)
    return [f"{which}={values[0] if len(set(values)) == 1 else ','.join(values)}"]


def _layer(name: str) -> int:
    found = _NUMBER.search(name)
    return int(found[0]) if found else -1


def _range(layers: Sequence[int]) -> str:
    if list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}…{layers[-1]}"
    return ",".join(map(str, layers))
