"""Progress of a validation: of the matching in its setup, then pairs done, tokens a second, time left."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sae_match.report.matching_progress import MatchingProgress
from sae_match.text.batches import TokenBatch

log = logging.getLogger(__name__)

# Seconds after which a line is logged where no bar can be drawn.
_SILENCE = 30.0


@contextmanager
def counting(console: Console | None, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that says how much of it is done, and of how much; a log line now and then without a terminal.

    Args:
        console: Where the bar is drawn; none for nowhere.
        what: What is being done.
    """
    if console is None:
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task, said_at = progress.add_task(what, total=None), time.monotonic()

        def advance(done: int, total: int) -> None:
            nonlocal said_at
            progress.update(task, completed=done, total=total)
            if not console.is_terminal and time.monotonic() - said_at > _SILENCE:
                said_at = time.monotonic()
                log.info("%s: %d of %d", what, done, total)

        yield advance


class ValidationProgress(L.Callback):
    """A bar that advances with every pair of layers of every batch; before, one for what is fitted.

    Where there is no terminal to draw it in, a line now and then.

    Args:
        console: Where the bar is drawn.
    """

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}left"),
            TimeRemainingColumn(),
            console=console,
        )
        self.tasks: dict[str, TaskID] = {}
        self.tokens = 0
        self.shown = False
        self.said_at = time.monotonic()

    def watch(self, what: str, done: int, total: int) -> None:
        """What the module tells: what it is doing, how much of it is done, and of how much."""
        if not self.shown:
            return
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=total, rate="")
        self.progress.update(self.tasks[what], completed=done, total=total)
        if not self.progress.console.is_terminal and time.monotonic() - self.said_at > _SILENCE:
            self.said_at = time.monotonic()
            log.info("%s: %d of %d", what, done, total)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.shown = trainer.is_global_zero

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.shown:
            self.progress.start()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TokenBatch, *_: int
    ) -> None:
        self.tokens += int(batch.scored.sum()) * trainer.world_size
        task = self.tasks.get("validating")
        if task is None:
            return
        elapsed = self.progress.tasks[self.progress.task_ids.index(task)].elapsed
        if elapsed:
            self.progress.update(task, rate=f"steps, {self.tokens / elapsed:,.0f} tokens/s, ")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.progress.stop()


class MatchingBar(L.Callback):
    """Shows the progress of the matching while the validation is set up.

    Args:
        progress: Fed by the module's `watch_pair`.
    """

    def __init__(self, progress: MatchingProgress) -> None:
        self.progress, self.shown = progress, ExitStack()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            self.shown.enter_context(self.progress.shown())

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.shown.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.shown.close()
