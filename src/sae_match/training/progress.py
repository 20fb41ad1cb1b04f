"""Progress of a training of SAEs: a table that is drawn in place, or a log line now and then."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import lightning as L
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sae_match.progress import NowAndThen
from sae_match.training.sae_settings import SAETrainingSettings, steps_of

log = logging.getLogger(__name__)

_METRICS = ("l0", "explained_variance", "dead")


@dataclass(frozen=True)
class Standing:
    """How training stands in one layer, on the batch that was last looked at."""

    l0: float
    explained_variance: float
    dead: float


class TrainingProgress(L.Callback):
    """L0, explained variance and dead features of each layer, steps done and time left.

    Args:
        console: Where it is drawn.
        settings: Settled settings of the training.
    """

    def __init__(self, console: Console, settings: SAETrainingSettings) -> None:
        self.console, self.settings = console, settings
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("steps, {task.fields[doing]}, left"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task("", total=steps_of(settings), doing="reading text")
        self.standing: dict[int, Standing] = {}
        self.live = Live(get_renderable=self._drawn, console=console, refresh_per_second=4)
        self._lines = NowAndThen()

    @contextmanager
    def shown(self, wanted: bool = True) -> Iterator[None]:
        """Within the context the table is drawn, where it is wanted and there is a terminal."""
        if not (wanted and self.console.is_terminal):
            yield
            return
        with self.live:
            yield

    def doing(self, what: str, done: int, total: int) -> None:
        """Show how far other work than training is, and log it where there is no terminal."""
        over = done >= total
        self.bar.update(self.task, doing=what if over else f"{what}: {done / total:.0%}")
        if not self.console.is_terminal and (over or self._lines.is_due()):
            log.info("%s: %s of %s", what, f"{done:,}", f"{total:,}")

    def on_train_start(self, trainer: L.Trainer, *_: object) -> None:
        """Begin where a checkpoint ended."""
        self.bar.update(self.task, completed=trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Advance, and show what was logged last."""
        self.bar.update(self.task, completed=trainer.global_step, doing="training")
        # Lightning sets the attribute at run time; metrics are fetched when they are new, as that makes a GPU wait.
        if trainer.global_step % cast(Any, trainer).log_every_n_steps == 0:
            logged = trainer.callback_metrics
            for layer in self.settings.layers:
                self.standing[layer] = Standing(*(float(logged[f"{name}/{layer}"]) for name in _METRICS))
        if not self.console.is_terminal and self._lines.is_due():
            log.info("step %d of %d%s", trainer.global_step, steps_of(self.settings), self._means())

    def _means(self) -> str:
        if not self.standing:
            return ""
        l0, explained, dead = (
            sum(getattr(standing, name) for standing in self.standing.values()) / len(self.standing)
            for name in _METRICS
        )
        return f": L0 {l0:.1f}, explained variance {explained:.3f}, {dead:.0f} dead features (means over layers)"

    def _drawn(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("layer", "L0 aimed at", "L0", "explained variance", "dead features"):
            table.add_column(name, justify="right")
        for layer, aim in zip(self.settings.layers, self.settings.l0, strict=True):
            if (standing := self.standing.get(layer)) is None:
                table.add_row(str(layer), f"{aim:g}", "-", "-", "-")
                continue
            explained, dead = f"{standing.explained_variance:.3f}", f"{standing.dead:.0f}"
            table.add_row(str(layer), f"{aim:g}", f"{standing.l0:.1f}", explained, dead)
        return Group(table, self.bar)
