"""What stands for a run in a table: all that tells it apart where there is room, and ever less where there is not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sae_match.report.comparison.joining import Joined
from sae_match.report.comparison.wording import shown, words
from sae_match.report.runs import Setting
from sae_match.strings import LONGEST, in_a_line


@dataclass(frozen=True)
class Naming:
    """Columns that runs are called by.

    Attributes:
        called: Of each run, what stands in each column, by its title.
        legend: Lines without which the columns would not be understood.
    """

    called: Sequence[Mapping[str, str]]
    legend: Sequence[str] = ()


def in_full(joined: Joined) -> Naming:
    """A column for each setting that differs."""
    return Naming([{name: in_a_line(shown(value), LONGEST) for name, value in told.items()} for told in _each(joined)])


def by_number(joined: Joined) -> Naming:
    """A number, and what it stands for beside the table."""
    told = [words(told) for told in _each(joined)]
    numbers = [{"run": str(number)} for number in range(1, len(told) + 1)]
    return Naming(numbers, [f"{number}  {in_a_line(settings)}" for number, settings in enumerate(told, 1)])


def namings(joined: Joined) -> Iterator[Naming]:
    """From the widest to the narrowest: in full, without what all names of settings begin with, by number."""
    full = in_full(joined)
    yield full
    if common := _beginning(list(joined.differing)):
        called = [{name.removeprefix(common): value for name, value in run.items()} for run in full.called]
        yield Naming(called, [f"columns are settings of {common.removesuffix('.')}"])
    yield by_number(joined)


def _each(joined: Joined) -> list[dict[str, Setting]]:
    return [joined.told(number) for number in range(len(joined.runs))]


def _beginning(names: Sequence[str]) -> str:
    """What dotted names begin with, all of them, up to a dot."""
    if len(names) < 2:
        return ""
    common = ""
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        common += f"{parts[0]}."
    return common
