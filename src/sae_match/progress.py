"""How far work is: bars on a terminal, elsewhere a log line now and then."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)

#: Seconds between log lines about the same work, where there is no terminal to draw on.
SILENCE = 30.0


class NowAndThen:
    """Says when the next log line is due: after `SILENCE` seconds without one."""

    def __init__(self) -> None:
        self._spoke = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time to speak; if so, the next silence begins."""
        if time.monotonic() - self._spoke < SILENCE:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """Begin a new silence."""
        self._spoke = time.monotonic()


class CountingBars:
    """A bar for each piece of work, with how much of it is done, and of how much; without a terminal, log lines.

    Args:
        console: Where the bars are drawn.
        transient: Whether they go away at the end, rather than stay as they are then.
    """

    def __init__(self, console: Console, *, transient: bool = False) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}left", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=transient,
            disable=transient and not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lines = NowAndThen()

    def watch(self, what: str, done: int, total: int | None) -> None:
        """Show how much of a piece of work is done, and of how much, where that is known.

        Args:
            what: Name of the work; a new one has a bar of its own.
            done: Units that are done.
            total: Units in all.
        """
        if what not in self._tasks:
            self._tasks[what] = self.progress.add_task(what, total=total, note="")
        self.progress.update(self._tasks[what], completed=done, total=total)
        if not self.progress.console.is_terminal and total is not None and self._lines.is_due():
            log.info("%s: %d of %d", what, done, total)

    def note(self, what: str, text: str) -> None:
        """Show a text beside the bar of a piece of work, if it has one."""
        if what in self._tasks:
            self.progress.update(self._tasks[what], note=text)

    def elapsed(self, what: str) -> float | None:
        """Seconds since a piece of work began; none where it has not."""
        if what not in self._tasks:
            return None
        return self.progress.tasks[self.progress.task_ids.index(self._tasks[what])].elapsed


@contextmanager
def counting(console: Console | None, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar while the block runs, gone after it; called with how much is done, and of how much.

    Args:
        console: Where the bar is drawn; none for nowhere.
        what: What is being done.
    """
    if console is None:
        yield lambda *_: None
        return
    bars = CountingBars(console, transient=True)
    with bars.progress:
        bars.watch(what, 0, None)
        yield lambda done, total: bars.watch(what, done, total)
