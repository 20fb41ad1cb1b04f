"""Which files a run's folder holds, what its layers are called, and what to say of what is missing."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas

from sae_match.errors import UserError, listed
from sae_match.files import refuse_no_folder
from sae_match.owned import is_made_here
from sae_match.report.reading.tables import Names, Pair, csv_table, matched_in, parquet_table
from sae_match.strings import reason_of
from sae_match.version import PROVENANCE

_RESULTS, _MATCHINGS = "results.csv", "matchings.csv"
_SUFFIX = ".safetensors"
# No name of a collection has an `@`.
_FILE = re.compile(r"L(?P<source>\d+)(?:@(?P<first>[^@]+))?-L(?P<target>\d+)(?:@(?P<second>[^@]+))?")
# Bytes of the number that a file of tensors begins with, and of the longest header of a matching.
_SIZE, _LONGEST = 8, 1 << 20
# As `sae_match.matching.result` notes it; that takes torch.
_TARGET_FEATURES = "target_features"
# Runs that are named where a folder is none itself.
_RUNS = 5


@dataclass(frozen=True)
class RunFiles:
    """What a run's folder holds.

    Attributes:
        folder: Of the run.
        pairs: Pairs of layers that were matched, in ascending order.
        names: Of the two collections, where there are two.
    """

    folder: Path
    pairs: tuple[Pair, ...]
    names: Names = None
    _tables: dict[Path, pandas.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, folder: Path) -> "RunFiles":
        """Look into a folder.

        Raises:
            UserError: If it is none of a run that has matched anything.
        """
        refuse_no_folder(folder)
        if not is_made_here(folder):
            below = sorted({file.parent for file in folder.rglob(PROVENANCE) if is_made_here(file.parent)})
            hint = f"; runs below it: {listed((str(one) for one in below), _RUNS)}" if below else ""
            raise UserError(f"{folder} is no run's folder: it has no {PROVENANCE} of this program{hint}")
        tabled = matched_in(folder / _table_of(folder))
        names, pairs = _matched_by_files(folder) if tabled is None else tabled
        run = cls(folder, tuple(sorted(pair for pair in pairs if _in_order(pair, names))), names)
        # What was interrupted has a table of an earlier run, perhaps, and not all of its files.
        there = (
            run
            if tabled is None
            else replace(run, pairs=tuple(one for one in run.pairs if run.matching(one).is_file()))
        )
        if not there.pairs:
            raise UserError(f"{folder} holds no matching: open the folder of a run of validate or match that has any")
        return there

    @property
    def ends(self) -> list[str]:
        """Layers that were matched, as they are called: `3`, or `3@seed_100` where there are two collections."""
        if self.names is None:
            return [str(layer) for layer in sorted({layer for pair in self.pairs for layer in pair})]
        sides = zip(self.names, zip(*self.pairs, strict=True), strict=True)
        return [f"{layer}@{name}" for name, layers in sides for layer in sorted(set(layers))]

    def ends_of(self, pair: Pair) -> tuple[str, str]:
        """What the two layers of a pair are called."""
        source, target = map(str, pair)
        return (source, target) if self.names is None else (f"{source}@{self.names[0]}", f"{target}@{self.names[1]}")

    def pair(self, source: int, target: int) -> Pair:
        """A pair of layers that was matched.

        Raises:
            UserError: If it was not; names those that were.
        """
        if (source, target) not in self.pairs:
            there = listed((f"{one}→{other}" for one, other in self.pairs), 30)
            raise UserError(f"{self.folder} has no pair of layers {source}→{target}; it has {there}")
        return source, target

    def end(self, layer: int | str) -> str:
        """A layer that was matched, as it is called.

        Raises:
            UserError: If it was not, or is one of both collections and it is not said of which.
        """
        found = [end for end in self.ends if str(layer) in (end, end.partition("@")[0])]
        if not found:
            raise UserError(f"{self.folder} has no layer {layer}; it has {listed(self.ends, 60)}")
        if len(found) > 1:
            raise UserError(f"both collections have a layer {layer}: say {' or '.join(map(repr, found))}")
        return found[0]

    def of_pair(self, kind: str, pair: Pair, suffix: str = ".parquet") -> Path:
        """The file of a pair of layers in one of the run's folders."""
        return self.folder / kind / f"{'-'.join(map(_stem, self.ends_of(pair)))}{suffix}"

    def of_end(self, kind: str, end: str) -> Path:
        """The file of a layer in one of the run's folders."""
        return self.folder / kind / f"{_stem(end)}.parquet"

    def matching(self, pair: Pair) -> Path:
        """The file of a matching."""
        return self.of_pair("matchings", pair, _SUFFIX)

    def width(self, end: str) -> int | None:
        """Features of a layer; none where no matching says it.

        Raises:
            UserError: If the file of a matching is not sound.
        """
        for pair in self.pairs:
            source, target = self.ends_of(pair)
            if end not in (source, target):
                continue
            header = _header(self.matching(pair))
            try:
                if end == source:
                    return int(header["permutation"]["shape"][0])
                # Earlier versions did not say how many features the target has.
                if (said := header["__metadata__"].get(_TARGET_FEATURES)) is not None:
                    return int(said)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
                file = self.matching(pair)
                raise UserError(f"{file} is no matching: it does not say how many features layer {end} has") from error
        return None

    @property
    def has_read_text(self) -> bool:
        """Whether the run has validated anything, or is one of weights alone."""
        return _table_of(self.folder) == _RESULTS

    def table(self, file: Path, lacking: str) -> pandas.DataFrame:
        """A table of the run, read once; a copy, so that nobody changes it for others.

        Args:
            file: CSV or Parquet.
            lacking: Why it may not be there, and what to do about that.

        Raises:
            UserError: If it is not there or not sound.
        """
        if file not in self._tables:
            if not file.is_file():
                raise UserError(f"{self.folder} has no {file.relative_to(self.folder)}: {lacking}")
            self._tables[file] = csv_table(file) if file.suffix == ".csv" else parquet_table(file)
        return self._tables[file].copy()


def _table_of(folder: Path) -> str:
    """Which table says what a run has matched: of one that has read text, or of weights alone."""
    return _MATCHINGS if (folder / _MATCHINGS).is_file() and not (folder / _RESULTS).is_file() else _RESULTS


def _matched_by_files(folder: Path) -> tuple[Names, set[Pair]]:
    """What the names of matchings' files say; those of two collections, where there are any."""
    stems = (file.stem for file in (folder / "matchings").glob(f"L*-L*{_SUFFIX}"))
    found = [one for stem in sorted(stems) if (one := _FILE.fullmatch(stem)) is not None]
    names = next(((one["first"], one["second"]) for one in found if one["first"] and one["second"]), None)
    called = names or (None, None)
    of_names = (one for one in found if (one["first"], one["second"]) == called)
    return names, {(int(one["source"]), int(one["target"])) for one in of_names}


def _in_order(pair: Pair, names: Names) -> bool:
    """Whether a pair leads on: in one collection a path over others would come back to where it was."""
    return pair[0] < pair[1] or (names is not None and names[0] != names[1])


def _stem(end: str) -> str:
    """What files of a layer are called: `L03`, `L03@seed_100`."""
    layer, at, name = end.partition("@")
    return f"L{int(layer):02d}{at}{name}"


def _header(file: Path) -> dict[str, Any]:
    """What a file of tensors says of itself."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(_SIZE), "little")
            found = json.loads(stream.read(min(size, _LONGEST)))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {reason_of(error)}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} is no matching")
    return found
