"""Progress of matching pairs of layers: pairs done, and where the solution at hand stands."""

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sae_match.matching.layers import Pair
from sae_match.matching.solver.solving import Status
from sae_match.progress import NowAndThen

log = logging.getLogger(__name__)


class MatchingProgress:
    """A bar on a terminal, gone when all is done; elsewhere a log line now and then.

    Args:
        console: Where the bar is drawn.
        pairs: Number of pairs that will be matched, where it is known.
    """

    def __init__(self, console: Console, pairs: int | None = None) -> None:
        self.progress = Progress(
            TextColumn("matching {task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[standing]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task("", total=1.0, standing="")
        self.pairs, self.finished = pairs, 0
        self.doing = ""
        self._lines: dict[Pair, NowAndThen] = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within the context the bar is drawn, and log lines go above it."""
        if not self.progress.console.is_terminal:
            yield
            return
        with self.progress, _logging_to_present_stdout():
            yield

    def watch(self, pair: Pair, status: Status) -> None:
        """Show where the solution of a pair stands."""
        self.doing = self.said(pair)
        share, what = (status.done, "") if status.assigned is None else (status.assigned, "assigning ")
        standing = f"round {status.round}, {what}{share:.0%}"
        if math.isfinite(status.gap):
            standing += f", gap {status.gap:.0e}"
        against = f", {status.against}" if status.against else ""
        if self.progress.console.is_terminal:
            description = f"layers {pair[0]} → {pair[1]}{against}{self._count()}"
            self.progress.update(self.task, description=description, completed=share, standing=standing)
            return
        # Several pairs may be matched at one time.
        if pair not in self._lines:
            self._lines[pair] = NowAndThen()
        elif self._lines[pair].is_due():
            log.info("layers %d and %d%s%s: %s", *pair, against, self._count(), standing)

    def said(self, pair: Pair, what: str = "matching") -> str:
        """What is being done with a pair, and how many pairs are done."""
        return f"{what} layers {pair[0]} and {pair[1]}{self._count()}"

    def done(self) -> None:
        """Count a pair as done."""
        self.finished += 1

    def _count(self) -> str:
        return "" if self.pairs is None else f" ({self.finished} of {self.pairs} pairs done)"


@contextmanager
def _logging_to_present_stdout() -> Iterator[None]:
    """Let log handlers write to what standard output is now, where they hold what it was at first."""
    moved = [
        (handler, handler.stream)
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.__stdout__
    ]
    for handler, _ in moved:
        handler.setStream(sys.stdout)
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
