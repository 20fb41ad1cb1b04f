"""A line that shows how far the reading of a stream is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def reading_shown(
    dataset: str, wanted: int, *, shown: bool, console: Console | None = None
) -> Iterator[Callable[[], None]]:
    """Show documents taken of those wanted while the block runs, then wipe the line; called for each one taken.

    Args:
        dataset: Name of the dataset.
        wanted: Number of documents, or rows, that are wanted.
        shown: Whether to show anything; never on what is no terminal.
        console: Where; standard error by default.
    """
    console = console or Console(stderr=True)
    progress = Progress(
        SpinnerColumn(),
        TextColumn(f"reading {dataset}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
    with progress:
        task = progress.add_task(dataset, total=wanted)
        yield lambda: progress.advance(task)
