"""Progress of a validation: of the matching in its setup, then pairs done, tokens a second, time left."""

from contextlib import ExitStack
from typing import Any

import lightning as L
from rich.console import Console

from sae_match.progress import CountingBars
from sae_match.report.matching_progress import MatchingProgress
from sae_match.text.batches import TokenBatch

# What the module calls its last pass, in which tokens are counted.
_VALIDATING = "validating"


class ValidationProgress(L.Callback):
    """A bar that advances with every pair of layers of every batch; before, one for what is fitted.

    Where there is no terminal to draw it in, a line now and then.

    Args:
        console: Where the bar is drawn.
    """

    def __init__(self, console: Console) -> None:
        self.bars = CountingBars(console)
        self.tokens = 0
        self.shown = False
        self.doing = ""

    def watch(self, what: str, done: int, total: int) -> None:
        """What the module tells: what it is doing, how much of it is done, and of how much."""
        self.doing = f"{what}, {done} of {total} done"
        if self.shown:
            self.bars.watch(what, done, total)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.shown = trainer.is_global_zero

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.shown:
            self.bars.progress.start()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TokenBatch, *_: int
    ) -> None:
        # None before the last pass.
        if elapsed := self.bars.elapsed(_VALIDATING):
            self.tokens += int(batch.scored.sum()) * trainer.world_size
            self.bars.note(_VALIDATING, f"steps, {self.tokens / elapsed:,.0f} tokens/s, ")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bars.progress.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.bars.progress.stop()


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
