"""What became of faults, as a table and in a line."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rich.box import MARKDOWN
from rich.table import Table


@dataclass(frozen=True)
class Tried:
    """What became of a fault.

    Attributes:
        program: Name of the subject.
        fault: What was done to it.
        status: Exit status of the disturbed run.
        heeded: Seconds from a signal to the end; zero where there was none.
        computed: Seconds that the program took of processors in that time: more is waiting for a machine that is busy.
        lost: What was wrong after the program was run again to its end; empty if nothing.
        moment: When, as a share of an undisturbed run, or what was damaged.
    """

    program: str
    fault: str
    status: int
    heeded: float = 0.0
    computed: float = 0.0
    lost: str = ""
    moment: float | str = ""


_HEADINGS = ("program", "fault", "tried", "survived", "slowest to heed", "most computed until then", "lost")


def table(tried: Iterable[Tried]) -> Table:
    """How many faults of each kind were tried and survived, how long a signal took, and what was lost."""
    shown, by_kind = Table(box=MARKDOWN), dict[tuple[str, str], list[Tried]]()
    for one in tried:
        by_kind.setdefault((one.program, one.fault), []).append(one)
    for heading in _HEADINGS:
        shown.add_column(heading, justify="left" if heading in ("program", "fault", "lost") else "right")
    for (program, fault), several in by_kind.items():
        survived = sum(not one.lost for one in several)
        heeded, computed = max(one.heeded for one in several), max(one.computed for one in several)
        times = [f"{heeded:.1f} s", f"{computed:.1f} s"] if heeded else ["", ""]
        shown.add_row(program, fault, str(len(several)), str(survived), *times, _lost(several))
    return shown


def summary(tried: Iterable[Tried]) -> str:
    """How many faults were tried and survived, and what was lost."""
    every = list(tried)
    survived = sum(not one.lost for one in every)
    return f"{len(every)} faults tried, {survived} survived; lost: {_lost(every)}"


def _lost(several: Iterable[Tried]) -> str:
    lost = Counter(one.lost for one in several if one.lost)
    return "; ".join(f"{text} ({times} times)" for text, times in lost.items()) or "nothing"
