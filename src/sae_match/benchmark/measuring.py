"""Figures with what they should reach, and cases measured in processes of their own."""

import math
import multiprocessing as mp
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rich.box import MARKDOWN
from rich.table import Table

from sae_match.errors import UserError
from sae_match.files import write_rows, written_whole
from sae_match.terminal import Terminal

#: The C library keeps freed blocks for later, more or fewer from run to run (by a tenth of the peak). Told by these
#: variables to give large ones back at once, what is resident is what is held.
HELD_ONLY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

_BLOCK = (2048, 4096)
_SAMPLED_BLOCKS = 16


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        case: What was measured on.
        what: What was measured.
        value: Of it.
        unit: Of the value.
        reach: What it should reach, in the same unit; nan where nothing was set.
        at_least: Whether the value should be at least the reach rather than at most.
    """

    case: str
    what: str
    value: float
    unit: str
    reach: float = math.nan
    at_least: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether it is as good as it should be; none where nothing was set."""
        if math.isnan(self.reach):
            return None
        return self.value >= self.reach if self.at_least else self.value <= self.reach


Case = Callable[[], list[Figure]]


def chosen(
    cases: Mapping[str, Case], groups: Mapping[str, Mapping[str, Case]], names: Sequence[str]
) -> dict[str, Case]:
    """Some of the cases, or all where no name is given.

    Args:
        cases: By name.
        groups: Further cases, which can be chosen together by the group's name too; an empty group is one whose
            cases cannot run here.
        names: Of what is wanted.

    Raises:
        UserError: If there is no case of a name, or it cannot run here.
    """
    known = {**cases, **{name: case for group in groups.values() for name, case in group.items()}}
    found = {} if names else known
    for name in names:
        if name in groups and not groups[name]:
            raise UserError(f"the cases of {name!r} need a device that this machine does not have")
        if name not in {*known, *groups}:
            raise UserError(f"there is no case {name!r}; there are {', '.join([*known, *groups])}")
        found |= groups[name] if name in groups else {name: known[name]}
    return found


def in_own_process(case: Case, environment: Mapping[str, str] | None = None) -> list[Figure]:
    """Figures of a case that is run in a new process, so that its peak memory is its own.

    Args:
        case: Run there.
        environment: Variables that the process is started with, besides those of this one.

    Raises:
        UserError: If the process dies.
    """
    context = mp.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_figures, args=(case, sender))
    with _variables(environment or {}):
        process.start()
    sender.close()
    try:
        figures: list[Figure] = receiver.recv()
    except EOFError as error:
        process.join()
        raise UserError(f"the process that measured {case} ended with exit code {process.exitcode}") from error
    process.join()
    return figures


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def peak_gigabytes() -> float:
    """Most memory that was ever resident in this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def resident_gigabytes() -> float:
    """Memory that is resident in this process now."""
    return _status("VmRSS")


def peak_resident_gigabytes() -> float:
    """Most memory that was resident in this process since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Begin anew to look for the most memory that is resident.

    Raises:
        UserError: If the system keeps no such account; Linux does.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError as error:
        raise UserError(f"this system does not say how much memory is resident at most: {error}") from error


def _status(name: str) -> float:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(lines[name].split()[0]) / 2**20


def float32_pass_seconds(n_source: int, n_target: int, width: int, device: torch.device) -> float:
    """Time of one pass over all costs: squared distances in float32 blocks, by products; from a sample of blocks."""
    rows, columns = min(n_source, _BLOCK[0]), min(n_target, _BLOCK[1])
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(rows, width, generator=generator).to(device)
    right = torch.randn(columns, width, generator=generator).to(device)
    row_squares, column_squares = left.square().sum(1, keepdim=True), right.square().sum(1)
    costs = torch.addmm(column_squares, left, right.T, alpha=-2).add_(row_squares)
    blocks = n_source / rows * n_target / columns
    measured = min(_SAMPLED_BLOCKS, math.ceil(blocks))
    wait_for(device)
    start = time.perf_counter()
    for _ in range(measured):
        torch.addmm(column_squares, left, right.T, alpha=-2, out=costs).add_(row_squares)
    wait_for(device)
    return (time.perf_counter() - start) * blocks / measured


def machine() -> str:
    """What the figures are measured on."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()}, {torch.get_num_threads()} threads{gpu}; torch {torch.__version__}"


def table(figures: Iterable[Figure]) -> Table:
    """Figures beside what they should reach, for the terminal."""
    shown = Table(box=MARKDOWN)
    for column in ("case", "what", "measured", "reach"):
        shown.add_column(column, justify="right" if column in ("measured", "reach") else "left")
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        reach = "" if figure.reached is None else f"{sign} {figure.reach:.3g} {figure.unit}".rstrip()
        missed = " (missed)" if figure.reached is False else ""
        shown.add_row(figure.case, figure.what, f"{figure.value:.3g} {figure.unit}".rstrip(), reach + missed)
    return shown


def write_csv(figures: Iterable[Figure], file: Path) -> None:
    """One row a figure."""
    columns = [*(field.name for field in fields(Figure)), "reached"]
    write_rows(file, ({**asdict(figure), "reached": figure.reached} for figure in figures), columns)


def write_markdown(figures: Iterable[Figure], file: Path) -> None:
    """The same table as in the terminal, and what it was measured on."""
    with written_whole(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        console = Terminal(file=stream, width=200)
        console.print(machine(), table(figures))


def _send_figures(case: Case, sender: Connection) -> None:
    sender.send(case())
    sender.close()


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
