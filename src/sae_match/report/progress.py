"""Progress of a validation: of the matching in its setup, then documents done, tokens a second, time left."""

from contextlib import ExitStack
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sae_match.report.matching_progress import MatchingProgress
from sae_match.text.batches import TokenBatch


class ValidationProgress(L.Callback):
    """A bar that advances with every batch.

    Args:
        console: Where the bar is drawn.
        batches: Number of batches that the validation has.
    """

    def __init__(self, console: Console, batches: int) -> None:
        self.progress = Progress(
            TextColumn("validating"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches, {task.fields[rate]} tokens/s, left"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.progress.add_task("validation", total=batches, rate="-")
        self.tokens = 0

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.progress.start()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TokenBatch, *_: int
    ) -> None:
        self.tokens += int(batch.scored.sum())
        elapsed = self.progress.tasks[self.task].elapsed or 0.0
        rate = f"{self.tokens / elapsed:,.0f}" if elapsed else "-"
        self.progress.update(self.task, advance=1, rate=rate)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.progress.stop()


class MatchingBar(L.Callback):
    """Shows the progress of the matching while the validation is set up.

    Args:
        progress: Fed by the module's `watch`.
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
