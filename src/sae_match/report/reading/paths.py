"""The path of one feature over the layers of a run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas

from sae_match.report.reading.files import RunFiles
from sae_match.report.reading.tables import Pair

Tables = Callable[[Pair], pandas.DataFrame]
"""Gives the table of a pair of layers, a row a pair of features."""

_SIDES = ("source", "target")
_OF_ENDS = [f"{side}_{what}" for side in _SIDES for what in ("layer", "feature", "label")]


@dataclass(frozen=True)
class _Step:
    """A pair of features on a path: the layers as they are called, and the row of their table."""

    ends: tuple[str, str]
    row: dict[str, object]

    def end(self, side: int) -> dict[str, object]:
        """One of the two features."""
        feature, label = (self.row.get(f"{_SIDES[side]}_{what}") for what in ("feature", "label"))
        return _feature(self.ends[side], feature, label)

    def known(self) -> dict[str, object]:
        """What is known of the pair."""
        return {name: value for name, value in self.row.items() if name not in _OF_ENDS}


def path_of(files: RunFiles, end: str, feature: int, label: str | None, tables: Tables) -> pandas.DataFrame:
    """A row a layer that the path leads through, in their order, with what is known of the step to the next.

    Args:
        files: Of the run.
        end: A layer on the path, as it is called.
        feature: Of that layer.
        label: What that feature is called, if it is known.
        tables: Of pairs.
    """
    before = list(_walk(files, end, feature, 0, tables))[::-1]
    steps = [*before, *_walk(files, end, feature, 1, tables)]
    rows = [step.end(0) | step.known() for step in steps]
    rows.append(steps[-1].end(1) if steps else _feature(end, feature, label))
    table = pandas.DataFrame(rows)
    for name in table:
        # The last row has no step: counts stay whole numbers all the same.
        if all(isinstance(row.get(name, 0), int) and not isinstance(row.get(name), bool) for row in rows):
            table[name] = table[name].astype("Int64" if table[name].isna().any() else "int64")
    return table


def _walk(files: RunFiles, end: str, feature: int, towards: int, tables: Tables) -> Iterator[_Step]:
    """Steps on to later layers (1), or back to earlier ones (0), each to the nearest that was matched."""
    while True:
        here = [pair for pair in files.pairs if files.ends_of(pair)[1 - towards] == end]
        if not here:
            return
        pair = min(here, key=lambda pair: (abs(pair[1] - pair[0]), pair))
        table = tables(pair)
        found = table[table[f"{_SIDES[1 - towards]}_feature"] == feature].to_dict("records")
        if not found:
            return
        step = _Step(files.ends_of(pair), {str(name): value for name, value in found[0].items()})
        yield step
        end, feature = step.ends[towards], int(found[0][f"{_SIDES[towards]}_feature"])


def _feature(end: str, feature: object, label: object) -> dict[str, object]:
    layer, _, name = end.partition("@")
    return {"layer": int(layer), **({"collection": name} if name else {}), "feature": feature, "label": label}
