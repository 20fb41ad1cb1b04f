"""Runs side by side as tables: long ones for other programs, short ones for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from rich.table import Table

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import CLEAN, MATCHED, order_of
from sae_match.evaluation.statistics.results import Result, SpanResult
from sae_match.files import write_rows, written_whole
from sae_match.report.comparison.joining import Joined
from sae_match.report.comparison.naming import Naming, in_full
from sae_match.report.runs import Run
from sae_match.report.tables import LADDER, TITLES, mean_and_interval, with_interval
from sae_match.strings import markdown_text

Row = Mapping[str, object]


@dataclass(frozen=True)
class Comparison:
    """Joined runs, and what of them is shown.

    Attributes:
        joined: The runs.
        arms: Arms that tables and pictures show, in table order, at least one.
        metrics: Metrics that they show, at least one.
    """

    joined: Joined
    arms: Sequence[str]
    metrics: Sequence[str]

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
    return {"run": joined.names[number], **joined.settings(number), **asdict(row)}


def save_tables(comparison: Comparison, folder: Path) -> None:
    """Write `comparison.csv` and `comparison_by_layer.csv`, which hold everything, and `comparison.md`."""
    joined = comparison.joined
    runs = list(enumerate(joined.runs))
    write_rows(folder / "comparison.csv", [told(joined, number, row) for number, run in runs for row in run.spans])
    write_rows(
        folder / "comparison_by_layer.csv", [told(joined, number, row) for number, run in runs for row in run.results]
    )
    with written_whole(folder / "comparison.md") as temporary:
        temporary.write_text(markdown(comparison), encoding="utf-8")


def tables(comparison: Comparison, naming: Naming) -> Iterator[tuple[str, Table]]:
    """For each dataset and distance a title and a table: runs and arms down, metrics across."""
    for title, rows in _short(comparison):
        table = Table(box=None, padding=(0, 1, 0, 0))
        for name in [*naming.called[0], "arm"]:
            table.add_column(name, overflow="fold")
        for metric in comparison.metrics:
            table.add_column(title_of(metric), justify="right")
        for number, arm, cells in rows:
            called = naming.called[number].values()
            table.add_row(*called, arm, *("" if row is None else with_interval(row) for row in cells))
        yield title, table


def markdown(comparison: Comparison) -> str:
    """The same tables as text, with what has to be said about the runs."""
    joined, naming = comparison.joined, in_full(comparison.joined)
    lines = [f"# {len(joined.runs)} run{'s' * (len(joined.runs) > 1)} of {markdown_text(joined.about)}", ""]
    lines += [f"- {markdown_text(note, None)}" for note in joined.notes] + ([""] if joined.notes else [])
    for title, rows in _short(comparison):
        metrics = [title_of(metric) for metric in comparison.metrics]
        lines += [f"## {markdown_text(title)}", "", _line([*naming.called[0], "arm", *metrics])]
        lines.append("|" + "---|" * (len(naming.called[0]) + 1) + "---:|" * len(metrics))
        for number, arm, cells in rows:
            called = naming.called[number].values()
            lines.append(_line([*called, arm, *("" if row is None else _plain(row) for row in cells)]))
        lines.append("")
    return "\n".join(lines)


def title_of(metric: str) -> str:
    """What people call a metric."""
    return TITLES.get(metric, metric.replace("_", " "))


def _short(comparison: Comparison) -> Iterator[tuple[str, list[tuple[int, str, list[SpanResult | None]]]]]:
    """Per dataset and distance: a title, and for each number of a run and arm a mean a metric."""
    for dataset in comparison.datasets:
        for span in sorted({row.span for _, row in comparison.means(dataset=dataset)}):
            of = {(n, row.arm, row.metric): row for n, row in comparison.means(dataset=dataset, span=span)}
            rows = []
            for number in range(len(comparison.joined.runs)):
                for arm in comparison.arms:
                    cells = [of.get((number, arm, metric)) for metric in comparison.metrics]
                    if any(cells):
                        rows.append((number, arm, cells))
            if rows:
                yield f"{dataset}, {'neighbours' if span == 1 else f'layers {span} apart'}", rows


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


def _plain(row: SpanResult) -> str:
    value, interval = mean_and_interval(row)
    return f"{value} ({interval})" if interval else value


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"
