"""From folders of runs to tables, pictures and a W&B run that compare them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement

from sae_match.files import write_rows
from sae_match.owned import remove_table
from sae_match.report.attempts import Attempts
from sae_match.report.comparison.comparison import Comparison, chosen, compared_with_first, over, save_tables, tables
from sae_match.report.comparison.joining import join
from sae_match.report.comparison.naming import Naming, by_number, namings
from sae_match.report.comparison.pictures import comparison_drawings
from sae_match.report.comparison.stability import StableLayer, stable_layers
from sae_match.report.comparison.stability_report import stability_picture, stability_table
from sae_match.report.picture import Drawings, Picture, save_pictures
from sae_match.report.runs import Run, Unfinished, find_runs
from sae_match.report.sweeps import STABILITY
from sae_match.report.tracking.logger import open_logger, where_to_look
from sae_match.report.tracking.records import log_comparison
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.terminal import say
from sae_match.version import provenance

# Columns of a terminal in which every table fits.
_UNBOUNDED = 10_000
_TABLES = ("comparison.csv", "comparison_by_layer.csv", "comparison_differences.csv", "comparison.md")


@dataclass(frozen=True)
class Kept:
    """A comparison that was written.

    Attributes:
        folder: Where it is.
        comparison: The runs, and what of them is shown.
        pictures: Saved in `folder/figures`.
        stable: Layers whose features were looked for in several other dictionaries.
    """

    folder: Path
    comparison: Comparison
    pictures: Sequence[Picture]
    stable: Sequence[StableLayer] = ()


def compare(
    folders: Sequence[Path],
    destination: Path,
    console: Console,
    logger: LoggerSettings,
    *,
    arms: Sequence[str] = (),
    metrics: Sequence[str] = (),
    seeds: Sequence[str] = (),
) -> list[Kept]:
    """Join the finished runs below folders, write, print and log their comparison.

    Args:
        folders: Of runs, of sweeps, or of anything that holds some.
        destination: Folder of the comparison; runs of several models or texts have a folder each in it.
        console: Where tables go.
        logger: Where the comparison is logged, in the group of the runs if they share one.
        arms: Arms that are shown; `matched` if none is asked for, all of a single run.
        metrics: Metrics that are shown; the ladder's if none is asked for.
        seeds: Settings over which means are taken as well, such as the source of SAEs that differ in a seed.

    Raises:
        UserError: If there are no finished runs, or none has an arm or metric that is asked for; at the end, if a
            table, a picture or the log failed, everything else being there.
    """
    runs, unfinished = find_runs(folders)
    joined = join(runs)
    compared = [over(compared_with_first(chosen(one, arms, metrics)), seeds) for one in joined]
    places = [destination] if len(compared) == 1 else [destination / f"kind_{n}" for n in range(1, len(compared) + 1)]
    _say(console, runs, unfinished, len(joined))
    attempts = Attempts()
    kept = [_keep(comparison, folder, attempts) for comparison, folder in zip(compared, places, strict=True)]
    for one in kept:
        _print(console, one, apart=len(kept) > 1)
    say(console, ("\nFiles", "bold"), f" in {destination}")
    over_seeds = ["comparison_over_seeds.csv"] if seeds else []
    stable = [STABILITY] if any(one.stable for one in kept) else []
    say(console, f"  {', '.join([*_TABLES, *over_seeds, *stable])}, figures/*.png")
    with attempts.of("logging"):
        _log(console, kept, runs, destination, logger)
    attempts.refuse_failed(destination)
    return kept


def _keep(comparison: Comparison, folder: Path, attempts: Attempts) -> Kept:
    with attempts.of("tables"):
        save_tables(comparison, folder)
    layers: list[StableLayer] = []
    remove_table(folder / STABILITY)
    with attempts.of("stability over seeds"):
        layers, notes = stable_layers(comparison.joined.runs)
        joined = replace(comparison.joined, notes=[*comparison.joined.notes, *notes])
        comparison = replace(comparison, joined=joined)
        if layers:
            write_rows(folder / STABILITY, (row for layer in layers for row in layer.rows()))
    stable: Drawings = [("stability", partial(stability_picture, layers))]
    drawings = chain(comparison_drawings(comparison), stable)
    return Kept(folder, comparison, save_pictures(drawings, folder / "figures", attempts), layers)


def _say(console: Console, runs: Sequence[Run], unfinished: Sequence[Unfinished], kinds: int) -> None:
    say(console, ("Comparison", "bold"), f" of {len(runs)} finished run{'s' * (len(runs) > 1)}")
    for one in unfinished:
        say(console, "  ", ("left out", "red"), f"  {one.folder}: {one.reason}")
    if kinds > 1:
        told = f"  they are of {kinds} models or texts: a comparison for each"
        say(console, "  ", ("kept apart", "red"), told)


def _print(console: Console, kept: Kept, *, apart: bool) -> None:
    joined = kept.comparison.joined
    if apart:
        say(console, (f"\n{kept.folder.name}", "bold"), f": {joined.about}")
    for note in joined.notes:
        say(console, f"  {note}")
    console.print("\nMeans over pairs of layers, with 95 % intervals over documents", style="italic", highlight=False)
    naming = next((one for one in namings(joined) if _fits(console, kept.comparison, one)), by_number(joined))
    for line in naming.legend:
        say(console, f"  {line}")
    for title, table in tables(kept.comparison, naming):
        say(console, (f"\n{title}", "italic"))
        console.print(table)
    if kept.stable:
        level = f"{kept.stable[0].alpha:.0%}"
        say(console, ("\nWhich features do other dictionaries of the same layer find again?", "bold"))
        say(console, (f"With a partner that is significant at {level}; 95 % intervals over features", "italic"))
        console.print(stability_table(kept.stable))


def _fits(console: Console, comparison: Comparison, naming: Naming) -> bool:
    """Whether no cell has to be broken."""
    unbounded = console.options.update(max_width=_UNBOUNDED)
    return all(
        Measurement.get(console, unbounded, table).maximum <= console.width for _, table in tables(comparison, naming)
    )


def _log(
    console: Console, kept: Sequence[Kept], runs: Sequence[Run], destination: Path, settings: LoggerSettings
) -> None:
    groups = {run.group for run in runs}
    shared = groups.pop() if len(groups) == 1 else None
    settings = replace(settings, group=settings.group or shared, name=settings.name or "comparison", job_type="report")
    told = {"runs": [str(run.folder) for run in runs], "provenance": provenance()}
    with open_logger(settings, destination, told) as logger:
        for one in kept:
            log_comparison(logger, one.pictures, one.folder, prefix="" if len(kept) == 1 else f"{one.folder.name}/")
        if (line := where_to_look(logger)) is not None:
            say(console, f"  W&B: {line}")
