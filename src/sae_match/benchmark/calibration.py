"""Is the significance of a pair what it says? Measured where the truth is known, beside the plain rotation."""

import csv
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from sae_match.benchmark.measuring import Figure
from sae_match.benchmark.planted_chain import Plan, planted_chain
from sae_match.errors import UserError
from sae_match.files import write_rows
from sae_match.matching.matching import match
from sae_match.matching.significance.settings import NULLS, Null
from sae_match.matching.significance.significance import significance
from sae_match.terminal import Terminal, say

ALPHA = 0.05
# The default of `significance`; of the bad example, which takes as long, a few show how bad it is.
_ROTATIONS: Mapping[Null, int] = {"second_moment": 8, "rotation": 2}
_LEVELS = (0.01, 0.05, 0.1, 0.5)
# What is aimed at.
_OFF, _NONE, _FALSE, _POWER = 0.02, 0.005, 0.06, 0.65
# Where power is aimed at: the dictionaries of the prototype.
_OF_THE_PROTOTYPE = tuple(f"crowded, 1,024 x 128, {new} new" for new in ("20%", "50%", "80%"))
# Half-width of a 95 % interval of a mean, in standard errors.
_NORMAL = 1.96


@dataclass(frozen=True)
class Kind:
    """One kind of dictionaries that significance is calibrated on.

    Attributes:
        name: What sets it apart.
        d_in: Width of activations.
        d_sae: Features of each side.
        plan: How they are made.
    """

    name: str
    d_in: int
    d_sae: int
    plan: Plan

    @property
    def title(self) -> str:
        """As tables name it."""
        return f"{self.name}, {self.d_sae:,} x {self.d_in}, {self.plan.new:.0%} new"


@dataclass(frozen=True)
class Measured:
    """What came out on one pair of dictionaries, under one null.

    Attributes:
        kind: Title of the kind.
        null: The null.
        seed: Of the dictionaries.
        picked: Share of the tested features with `q <= 0.05`.
        false: Of these, the share whose pair is none; zero where nothing is picked.
        found: Of all features that go on, the share that is picked with the right partner; nan if none goes on.
        kept: Of the right pairs of the matching, the share that is picked; nan if there are none.
        storey: Storey's estimate of the share that goes on.
        right: Share of the tested features whose pair is right.
        p01: Share with `p <= 0.01`.
        p05: Share with `p <= 0.05`.
        p10: Share with `p <= 0.1`.
        p50: Share with `p <= 0.5`.
    """

    kind: str
    null: str
    seed: int
    picked: float
    false: float
    found: float
    kept: float
    storey: float
    right: float
    p01: float
    p05: float
    p10: float
    p50: float


def kinds() -> list[Kind]:
    """All kinds: spectra, shares and widths; then what could mislead a null."""
    base = [
        Kind(name, d_in, 8 * d_in, Plan(new, crowding=crowding))
        for d_in in (32, 64, 128)
        for name, crowding in (("crowded", 0.35), ("even", 0.0))
        for new in (0.0, 0.2, 0.5, 0.8, 1.0)
    ]
    harder: dict[str, dict[str, Any]] = {
        "near copies": {"copies": 0.25},
        "half dead": {"dead": 0.5},
        "unlike thresholds": {"thresholds": 2.0, "drift": 1.0},
        "unlike lengths": {"lengths": 1.0},
        "a common direction": {"common": 0.35},
        "steep spectrum": {"crowding": 0.7},
    }
    special = [
        Kind(name, 64, 512, Plan(new, **changed)) for name, changed in harder.items() for new in (0.2, 0.5, 0.8, 1.0)
    ]
    few = [Kind("fewer than dimensions", 128, 96, Plan(new)) for new in (0.5, 1.0)]
    crowds = [Kind("thirty crowds", 64, 512, Plan(new, crowds=True)) for new in (0.5, 1.0)]
    return [*base, *special, *few, *crowds]


def calibration(seeds: int, first: int, kept: Path) -> list[Figure]:
    """Figures of every kind over some seeds; those that lie in a folder are taken from there.

    Args:
        seeds: How many.
        first: The first of them.
        kept: Folder with a file for each finished seed; other processes may add to it.
    """
    console, rows = Terminal(stderr=True), list[Measured]()
    for number, seed in enumerate(range(first, first + seeds), 1):
        file, start = kept / f"seed_{seed:04d}.csv", time.perf_counter()
        if not file.is_file():
            write_rows(file, [asdict(row) for kind in kinds() for row in measured(kind, seed)], _columns())
            say(console, f"seed {seed}, {number} of {seeds}: {time.perf_counter() - start:.0f} s, kept in {file}")
        rows += _read(file)
    return list(figures(rows))


def measured(kind: Kind, seed: int) -> list[Measured]:
    """What comes out on the dictionaries of a seed, under every null."""
    source, target = planted_chain(kind.plan, kind.d_in, kind.d_sae, seed=seed)
    matching = match(source.sae, target.sae)
    right = source.who == target.who[matching.permutation.clamp_min(0)]
    right &= matching.permutation >= 0
    rows = []
    for null in NULLS:
        judged = significance(source.sae, target.sae, matching, null=null, rotations=_ROTATIONS[null], seed=seed)
        tested, picked, p = judged.tested, judged.q <= ALPHA, judged.p[judged.tested]
        goes_on = tested & torch.isin(source.who, target.who)
        rows.append(
            Measured(
                kind.title,
                null,
                seed,
                picked=_share(picked, tested),
                false=_share(~right, picked) if picked.any() else 0.0,
                found=_share(picked & right, goes_on),
                kept=_share(picked, tested & right),
                storey=judged.storey,
                right=_share(right, tested),
                **{name: float((p <= level).double().mean()) for name, level in zip(_P, _LEVELS, strict=True)},
            )
        )
    return rows


def figures(rows: Sequence[Measured]) -> Iterator[Figure]:
    """Means over seeds with 95 % intervals, beside what is aimed at."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.null), []).append(row)
    for (kind, null), found in groups.items():
        # The bad example is aimed at nothing.
        aim = 1.0 if null == "second_moment" else math.nan
        case = f"{kind}; {null}"
        if all(math.isnan(row.found) for row in found):
            mean, said = _mean(row.p05 for row in found)
            yield Figure(case, f"nothing matches: share with p <= 0.05{said}", mean, "", aim * (ALPHA + _OFF))
            yield Figure(case, "… as above, at least", mean, "", aim * (ALPHA - _OFF), at_least=True)
            mean, said = _mean(row.p50 for row in found)
            yield Figure(case, f"nothing matches: share with p <= 0.5{said}", mean, "")
            mean, said = _mean(row.picked for row in found)
            yield Figure(case, f"nothing matches: share with q <= 0.05{said}", mean, "", aim * _NONE)
            continue
        mean, said = _mean(row.false for row in found)
        yield Figure(case, f"of the picked, wrong{said}", mean, "", aim * _FALSE)
        mean, said = _mean(row.kept for row in found)
        power = aim * _POWER if kind in _OF_THE_PROTOTYPE else math.nan
        yield Figure(case, f"of the matching's right pairs, picked{said}", mean, "", power, at_least=True)
        mean, said = _mean(row.found for row in found)
        yield Figure(case, f"of all that go on, picked with the right partner{said}", mean, "")
        mean, said = _mean(row.storey - row.right for row in found)
        yield Figure(case, f"Storey's share less that of right pairs{said}", mean, "")


_P = ("p01", "p05", "p10", "p50")


def _columns() -> list[str]:
    return [field.name for field in fields(Measured)]


def _read(file: Path) -> list[Measured]:
    """What a seed's file holds.

    Raises:
        UserError: If it is none.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [_row(row) for row in csv.DictReader(stream)]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(
            f"{file} is no seed of the calibration: {error}; remove it, and it is measured again"
        ) from error


def _row(row: Mapping[str, str]) -> Measured:
    numbers: dict[str, Any] = {name: float(row[name] or "nan") for name in _columns()[3:]}
    return Measured(row["kind"], row["null"], int(row["seed"]), **numbers)


def _mean(values: Iterable[float]) -> tuple[float, str]:
    """Mean over seeds, and its 95 % interval in words."""
    known = torch.tensor([value for value in values if not math.isnan(value)], dtype=torch.float64)
    if len(known) < 2:
        return float(known.mean()), f" ({len(known)} seeds)"
    half = _NORMAL * float(known.std()) / math.sqrt(len(known))
    mean = float(known.mean())
    return mean, f" ({mean - half:.3g} to {mean + half:.3g}, {len(known)} seeds)"


def _share(of: torch.Tensor, among: torch.Tensor) -> float:
    return float(of[among].double().mean()) if among.any() else math.nan
