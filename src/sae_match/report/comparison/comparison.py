"""Runs side by side as tables: long ones for other programs, short ones for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path

from rich.table import Table

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import CLEAN, MATCHED, order_of
from sae_match.evaluation.statistics.differences import excludes_zero
from sae_match.evaluation.statistics.results import Result, SpanResult, cells_of
from sae_match.files import write_rows, written_whole
from sae_match.report.comparison.differences import from_first
from sae_match.report.comparison.joining import Joined
from sae_match.report.comparison.naming import Naming, in_full
from sae_match.report.comparison.seeds import SeedMean, over_seeds
from sae_match.report.runs import Run
from sae_match.report.tables import LADDER, TITLES, distance_of, mean_and_interval, with_interval
from sae_match.strings import markdown_text

Row = Mapping[str, object]
_Lines = list[tuple[int, str, list[SpanResult | None]]]
"""Number of a run, arm, and a number a metric."""


@dataclass(frozen=True)
class Comparison:
    """Joined runs, and what of them is shown.

    Attributes:
        joined: The runs.
        arms: Arms that tables and pictures show, in table order, at least one.
        metrics: Metrics that they show, at least one.
        differences: Of every run but the first, its number and how much larger a mean is than that of the first, as far
            as both are of the same documents.
        over_seeds: Means over runs that differ in seeds alone, where that was asked.
    """

    joined: Joined
    arms: Sequence[str]
    metrics: Sequence[str]
    differences: Sequence[tuple[int, SpanResult]] = ()
    over_seeds: Sequence[SeedMean] = ()

    @property
    def span(self) -> int:
        """The shortest distance of two layers that any run has; pictures show it."""
        return min(row.span for run in self.joined.runs for row in run.spans)

    @property
    def arm(self) -> str:
        """The arm of pictures that show one only."""
        return MATCHED if MATCHED in self.arms else self.arms[0]

    @property
    def datasets(self) -> list[str]:
        """Those that what is shown was measured on, in the order of the runs."""
        every = (row for run in self.joined.runs for row in run.spans)
        return list(dict.fromkeys(row.dataset for row in every if row.metric in self.metrics))

    def means(self, **wanted: object) -> Iterator[tuple[int, SpanResult]]:
        """Number of the run and mean over pairs of layers, for every mean whose columns have the wanted values."""
        for number, run in enumerate(self.joined.runs):
            for row in run.spans:
                if all(getattr(row, key) == value for key, value in wanted.items()):
                    yield number, row


def compared_with_first(comparison: Comparison) -> Comparison:
    """The same with every run's paired differences from the first, and what has to be said about those without."""
    differences, notes = from_first(comparison.joined)
    joined = replace(comparison.joined, notes=[*comparison.joined.notes, *notes])
    return replace(comparison, joined=joined, differences=differences)


def over(comparison: Comparison, seeds: Sequence[str]) -> Comparison:
    """The same with means over runs that differ in nothing but some settings, such as the seeds of SAEs.

    Raises:
        UserError: If the runs differ in none of them.
    """
    means, notes = over_seeds(comparison.joined, seeds)
    joined = replace(comparison.joined, notes=[*comparison.joined.notes, *notes])
    return replace(comparison, joined=joined, over_seeds=means)


def chosen(joined: Joined, arms: Sequence[str], metrics: Sequence[str]) -> Comparison:
    """What is shown of runs: `matched` and the ladder's metrics where nothing is asked for.

    Of a single run every arm is shown, and of runs that do not all have `matched` those arms that they all have.

    Raises:
        UserError: If no run has an arm or metric that is asked for; the message says what there is.
    """
    there = sorted({arm for run in joined.runs for arm in _arms(run)}, key=order_of)
    measured = list(dict.fromkeys(row.metric for run in joined.runs for row in run.spans))
    ladder = [metric for metric in LADDER if metric in measured] or measured
    shown_arms = sorted(_known("arms", arms, there), key=order_of) or _usual(joined.runs, there)
    absent = [
        f"{label} has none of the arms that are shown; it has {', '.join(sorted(_arms(run), key=order_of))}"
        for label, run in zip(joined.labels, joined.runs, strict=True)
        if not _arms(run) & set(shown_arms)
    ]
    return Comparison(
        replace(joined, notes=[*joined.notes, *absent]), shown_arms, _known("metrics", metrics, measured) or ladder
    )


def told(joined: Joined, number: int, row: Result | SpanResult) -> Row:
    """A number of a run, with the run's folder and the settings that differ."""
    return {
        "run": joined.names[number],
        **joined.settings(number),
        **cells_of(row, any(run.results.named for run in joined.runs)),
    }


def save_tables(comparison: Comparison, folder: Path) -> None:
    """Write `comparison.csv` and `comparison_by_layer.csv`, which hold everything, and `comparison.md`."""
    joined = comparison.joined
    runs = list(enumerate(joined.runs))
    write_rows(folder / "comparison.csv", [told(joined, number, row) for number, run in runs for row in run.spans])
    write_rows(
        folder / "comparison_by_layer.csv", [told(joined, number, row) for number, run in runs for row in run.results]
    )
    columns = ["run", *joined.differing, "less", *(field.name for field in fields(SpanResult)), "differs"]
    write_rows(folder / "comparison_differences.csv", _apart(comparison), columns)
    if comparison.over_seeds:
        write_rows(folder / "comparison_over_seeds.csv", [one.row() for one in comparison.over_seeds])
    with written_whole(folder / "comparison.md") as temporary:
        temporary.write_text(markdown(comparison), encoding="utf-8")


def tables(comparison: Comparison, naming: Naming) -> Iterator[tuple[str, Table]]:
    """For each dataset and distance titles and tables: runs and arms down, metrics across; means, then differences."""
    for title, rows, apart in _every(comparison):
        table = Table(box=None, padding=(0, 1, 0, 0))
        for name in [*naming.called[0], "arm"]:
            table.add_column(name, overflow="fold")
        for metric in comparison.metrics:
            table.add_column(title_of(metric), justify="right")
        for number, arm, cells in rows:
            called = naming.called[number].values()
            table.add_row(*called, arm, *("" if row is None else with_interval(row, apart=apart) for row in cells))
        yield title, table
    for title, means in _of_seeds(comparison):
        table = Table(box=None, padding=(0, 1, 0, 0))
        for name in ("runs", "settings", "arm"):
            table.add_column(name, overflow="fold")
        for metric in comparison.metrics:
            table.add_column(title_of(metric), justify="right")
        for kind, found in means:
            table.add_row(*kind, *("" if one is None else with_interval(one.mean) for one in found))
        yield title, table


def markdown(comparison: Comparison) -> str:
    """The same tables as text, with what has to be said about the runs."""
    joined, naming = comparison.joined, in_full(comparison.joined)
    lines = [f"# {len(joined.runs)} run{'s' * (len(joined.runs) > 1)} of {markdown_text(joined.about)}", ""]
    lines += [f"- {markdown_text(note, None)}" for note in joined.notes] + ([""] if joined.notes else [])
    for title, rows, apart in _every(comparison):
        metrics = [title_of(metric) for metric in comparison.metrics]
        lines += [f"## {markdown_text(title)}", "", _line([*naming.called[0], "arm", *metrics])]
        lines.append("|" + "---|" * (len(naming.called[0]) + 1) + "---:|" * len(metrics))
        for number, arm, cells in rows:
            called = naming.called[number].values()
            lines.append(_line([*called, arm, *("" if row is None else _plain(row, apart) for row in cells)]))
        lines.append("")
    for title, means in _of_seeds(comparison):
        lines += [f"## {markdown_text(title)}", ""]
        lines += [_line(["runs", "settings", "arm", *map(title_of, comparison.metrics)])]
        lines.append("|---|---|---|" + "---:|" * len(comparison.metrics))
        for kind, found in means:
            lines.append(_line([*kind, *("" if one is None else _plain(one.mean) for one in found)]))
        lines.append("")
    return "\n".join(lines)


def title_of(metric: str) -> str:
    """What people call a metric."""
    return TITLES.get(metric, metric.replace("_", " "))


def _apart(comparison: Comparison) -> Iterator[Row]:
    """Every difference from the first run, with what tells the run apart."""
    for number, row in comparison.differences:
        found = told(comparison.joined, number, row)
        yield {**found, "less": comparison.joined.names[0], "differs": excludes_zero(row.low, row.high)}


def _every(comparison: Comparison) -> Iterator[tuple[str, _Lines, bool]]:
    """Means, then differences, and whether they are such."""
    means = list(comparison.means())
    yield from ((title, rows, False) for title, rows in _short(comparison, means))
    for title, rows in _short(comparison, comparison.differences):
        yield f"{title}: difference from the first run (~: may be none)", rows, True


def _short(comparison: Comparison, numbers: Sequence[tuple[int, SpanResult]]) -> Iterator[tuple[str, _Lines]]:
    """Per dataset and distance: a title, and for each number of a run and arm a mean a metric."""
    for dataset in comparison.datasets:
        of_dataset = [(number, row) for number, row in numbers if row.dataset == dataset]
        for span in sorted({row.span for _, row in of_dataset}):
            of = {(number, row.arm, row.metric): row for number, row in of_dataset if row.span == span}
            rows = []
            for number in range(len(comparison.joined.runs)):
                for arm in comparison.arms:
                    cells = [of.get((number, arm, metric)) for metric in comparison.metrics]
                    if any(cells):
                        rows.append((number, arm, cells))
            if rows:
                yield f"{dataset}, {distance_of(span)}", rows


def _of_seeds(comparison: Comparison) -> Iterator[tuple[str, list[tuple[tuple[str, str, str], list[SeedMean | None]]]]]:
    """Per dataset and distance: a title, and for each kind of runs and arm a mean over seeds a metric."""
    shown = [one for one in comparison.over_seeds if one.mean.arm in comparison.arms]
    for dataset, span in dict.fromkeys((one.mean.dataset, one.mean.span) for one in shown):
        of = {
            (one.about, one.mean.arm, one.mean.metric): one
            for one in shown
            if (one.mean.dataset, one.mean.span) == (dataset, span)
        }
        rows = []
        for about, arm in dict.fromkeys((about, arm) for about, arm, _ in of):
            cells = [of.get((about, arm, metric)) for metric in comparison.metrics]
            if known := [one for one in cells if one is not None]:
                rows.append(((str(known[0].runs), about, arm), cells))
        if rows:
            yield f"{dataset}, {distance_of(span)}: means and 95 % intervals over seeds", rows


def _arms(run: Run) -> set[str]:
    return {row.arm for row in run.spans if row.arm != CLEAN}


def _usual(runs: Sequence[Run], there: Sequence[str]) -> Sequence[str]:
    """Every arm of a single run; of several `matched` if all have it, else what all have, or all that there is."""
    if len(runs) == 1:
        return there
    common = [arm for arm in there if all(arm in _arms(run) for run in runs)]
    return [MATCHED] if MATCHED in common else common or there


def _known(option: str, asked: Sequence[str], there: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in there:
            near = get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"{option}: no run has {name!r}; {hint}there are {', '.join(there)}")
    return list(dict.fromkeys(asked))


def _plain(row: SpanResult, apart: bool = False) -> str:
    value, interval = mean_and_interval(row, apart=apart)
    return f"{value} ({interval})" if interval else value


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"
