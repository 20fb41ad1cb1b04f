"""How a dashboard of runs is laid out: sections of panels, by the names of what runs have logged."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sae_match.evaluation.arm_names import CLEAN, COMPOSED, MATCHED, MATCHED_UNFOLDED, order_of
from sae_match.evaluation.statistics.results import WEIGHTS
from sae_match.owned import begin_of
from sae_match.report.runs import Run
from sae_match.report.tables import TITLES, metric_name
from sae_match.strings import is_name

Kind = Literal["lines", "bars", "picture", "table", "histogram", "settings", "note"]

# Pictures by the section that asks their question; any other is shown in the first section.
_PICTURES = {
    "folding": ("folding_error", "threshold_scale"),
    "persistence": (
        "persistence",
        *(f"{metric}_by_distance{ending}" for metric in TITLES for ending in ("", "_controls")),
        "paths",
    ),
    "pairs": ("significance", "relations", "causal", "coactivation_by_q", "pair_error", "quantiles"),
}
# Of the numbers that follow from weights alone, those that are logged.
_OF_WEIGHTS = {"significant_share": "features significantly matched", "storey_share": "features truly matched (Storey)"}


@dataclass(frozen=True)
class Panel:
    """A chart, a picture or a table.

    Attributes:
        kind: `lines` by layer, `bars` of means, a `picture`, a `table`, a `histogram`, the `settings` that
            tell runs apart, or a `note`.
        title: What it is called; of a note, its text.
        keys: Names of what it shows, as they are logged.
    """

    kind: Kind
    title: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Panels that answer one question."""

    name: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Logged:
    """What some runs have logged.

    Attributes:
        metrics, datasets, arms: Of which there are numbers, each in table order.
        spans: Distances of layers that means were taken at.
        layers: Names of charts by layer, without `by_layer/`.
        means: Names in the summary.
        pictures: Names of pictures.
        pairs: Pairs of layers that have a table of features, as `L03-L04`.
        warned: Whether any run was warned of something.
    """

    metrics: Sequence[str]
    datasets: Sequence[str]
    arms: Sequence[str]
    spans: Sequence[int]
    layers: frozenset[str]
    means: frozenset[str]
    pictures: Sequence[str]
    pairs: Sequence[str]
    warned: bool

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Logged":
        """What runs have logged, by the files that they have left."""
        spans = [row for run in runs for row in run.spans]
        measured = {row.metric for row in spans}
        results = [row for run in runs for row in run.results if row.dataset != WEIGHTS or row.metric in _OF_WEIGHTS]
        return cls(
            metrics=[metric for metric in TITLES if metric in measured],
            datasets=list(dict.fromkeys(row.dataset for row in spans if row.dataset != WEIGHTS)),
            arms=sorted({row.arm for row in spans if row.arm != CLEAN}, key=order_of),
            spans=sorted({row.span for row in spans}),
            layers=frozenset(
                metric_name(row.metric, row.dataset, row.arm, row.target_layer - row.source_layer) for row in results
            ),
            means=frozenset(metric_name(row.metric, row.dataset, row.arm, row.span) for row in spans),
            pictures=_stems(runs, "figures/*.png"),
            pairs=_stems(runs, "pairs/*.parquet"),
            warned=any(_warned(run.folder / "warnings.csv") for run in runs),
        )

    def lines(self, metric: str, dataset: str, arms: Iterable[str]) -> tuple[str, ...]:
        """Charts by layer of these arms, as far as there are some."""
        names = (metric_name(metric, dataset, arm, self.spans[0]) for arm in arms)
        return tuple(f"by_layer/{name}" for name in names if name in self.layers)

    def bars(self, metric: str, datasets: Iterable[str], arms: Iterable[str], spans: Iterable[int]) -> tuple[str, ...]:
        """Means of these, as far as there are some."""
        told = [(dataset, arm, span) for dataset in datasets for arm in arms for span in spans]
        names = (metric_name(metric, *one) for one in told)
        return tuple(name for name in names if name in self.means)


def layout(runs: Sequence[Run]) -> list[Section]:
    """The sections of a dashboard; every key in them was logged by at least one of the runs."""
    logged = Logged.of(runs)
    sections = {
        "overview": _overview(logged),
        "folding": _by_layer(logged, (MATCHED, MATCHED_UNFOLDED)),
        "ladder": [*_means(logged), *_by_layer(logged, logged.arms)],
        "persistence": _persistence(logged),
        "pairs": _pairs(logged),
    }
    return [
        Section(
            name,
            [*(panel for panel in panels if panel.keys or panel.kind in ("settings", "note")), *_drawn(logged, name)],
        )
        for name, panels in sections.items()
    ]


def _overview(logged: Logged) -> Iterator[Panel]:
    yield Panel("settings", "what tells the runs apart")
    if logged.warned:
        yield Panel("table", "warnings", ("warnings",))
    for metric in logged.metrics:
        yield Panel(
            "bars", f"{TITLES[metric]} of matched", logged.bars(metric, logged.datasets, [MATCHED], logged.spans[:1])
        )
    for metric in logged.metrics:
        for dataset in logged.datasets:
            yield Panel(
                "lines", f"{TITLES[metric]} of matched by layer, {dataset}", logged.lines(metric, dataset, [MATCHED])
            )


def _means(logged: Logged) -> Iterator[Panel]:
    for metric in logged.metrics:
        for dataset in logged.datasets:
            keys = logged.bars(metric, [dataset], logged.arms, logged.spans[:1])
            yield Panel("bars", f"{TITLES[metric]}, {dataset}", keys)


def _by_layer(logged: Logged, arms: Sequence[str]) -> Iterator[Panel]:
    for metric in logged.metrics:
        for dataset in logged.datasets:
            yield Panel("lines", f"{TITLES[metric]} by layer, {dataset}", logged.lines(metric, dataset, arms))


def _persistence(logged: Logged) -> Iterator[Panel]:
    if len(logged.spans) < 2:
        yield Panel("note", "None of the runs has layers at several distances: `evaluation=spans` has.")
        return
    for metric in logged.metrics:
        for dataset in logged.datasets:
            keys = logged.bars(metric, [dataset], (MATCHED, COMPOSED), logged.spans)
            yield Panel("bars", f"{TITLES[metric]} by distance, {dataset}", keys)


def _pairs(logged: Logged) -> Iterator[Panel]:
    for metric, title in _OF_WEIGHTS.items():
        yield Panel("lines", f"share of {title} by layer", logged.lines(metric, WEIGHTS, [MATCHED]))
    if logged.pairs:
        yield Panel("table", "matched features", ("pairs",))
    for pair in logged.pairs:
        yield Panel("histogram", f"cost of the pairs of {pair}", (f"pair_cost/{pair}",))


def _drawn(logged: Logged, section: str) -> Iterator[Panel]:
    elsewhere = {name for names in _PICTURES.values() for name in names}
    for name in logged.pictures:
        if name in _PICTURES.get(section, ()) or (section == "overview" and name not in elsewhere):
            yield Panel("picture", name.replace("_", " "), (f"figures/{name}",))


def _warned(file: Path) -> bool:
    """Whether a table of warnings has more than its header."""
    return file.is_file() and len(begin_of(file).splitlines()) > 1


def _stems(runs: Sequence[Run], pattern: str) -> list[str]:
    """Names of files of runs, those that can be names of what was logged."""
    stems = (file.stem for run in runs for file in sorted(run.folder.glob(pattern)))
    return [stem for stem in dict.fromkeys(stems) if is_name(stem)]
