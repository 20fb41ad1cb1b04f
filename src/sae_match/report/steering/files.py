"""What a run of steering leaves: its table, a picture, tables in the terminal, groups."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from rich.console import Console
from rich.text import Text

from sae_match.evaluation.groups.circuits import Groups
from sae_match.evaluation.significance.over_features import Estimate
from sae_match.evaluation.steering.measures import AGREEMENT, CARRIED, EFFECT, TOP_SHARE
from sae_match.evaluation.steering.paths import ARMS
from sae_match.evaluation.steering.settings import EACH, FIRST
from sae_match.files import write_rows, written_whole
from sae_match.owned import kept_in_record
from sae_match.report.drawing import GREY, add_legend, look, panels, set_ticks, titled
from sae_match.report.picture import Picture
from sae_match.report.tables import estimate_cell, plain_table
from sae_match.saes.two import pair_name
from sae_match.terminal import say

_COLUMNS = {
    CARRIED: "carried steering",
    TOP_SHARE: "top 1",
    AGREEMENT: "agreement",
    EFFECT: "effect (nats)",
}
_ABOUT = ("dataset", "source_layer", "target_layer", "where", "strength", "arm")
_SHOWN = {
    (FIRST, CARRIED): "rise of the later feature\nfor each activation added",
    (FIRST, AGREEMENT): "agreement of the effects\non the next token",
    (EACH, EFFECT): "effect on the next token\n(nats, added at each layer)",
}


def save_steering(table: pa.Table, folder: Path) -> list[Path]:
    """Write `steering/steering.parquet` and `steering/steering.csv` in a run's folder; returns the files."""
    files = [folder / "steering" / f"steering.{kind}" for kind in ("parquet", "csv")]
    with kept_in_record(*files):
        with written_whole(files[0]) as temporary:
            pq.write_table(table, temporary)
        write_rows(files[1], table.to_pylist(), table.column_names)
    return files


def save_groups(found: Sequence[Groups], folder: Path) -> list[Path]:
    """Write `groups/groups.json`, or `groups_0.json` and so on where there are several, in a run's folder."""
    names = ["groups.json"] if len(found) == 1 else [f"groups_{number}.json" for number in range(len(found))]
    files = [folder / "groups" / name for name in names]
    if files:
        with kept_in_record(*files):
            for one, file in zip(found, files, strict=True):
                one.save(file)
    return files


def means_of(table: pa.Table) -> list[Mapping[str, Any]]:
    """Rows of means over paths, where there are several; of the one path otherwise."""
    rows = table.to_pylist()
    several = {row["source_layer"] for row in rows if row["source_feature"] is None}
    return [row for row in rows if (row["source_feature"] is None) == (row["source_layer"] in several)]


def steering_means(table: pa.Table) -> dict[str, float]:
    """Means by name: `carried_steering/prose/matched/first/L03-L04`, and the strength where there are several."""
    means = [row for row in means_of(table) if row["value"] is not None]
    several = len({row["strength"] for row in means}) > 1
    named = {}
    for row in means:
        pair = pair_name((row["source_layer"], row["target_layer"]))
        name = "/".join((row["metric"], row["dataset"], row["arm"], row["where"], pair))
        named[f"{name}/{row['strength']:g}" if several else name] = float(row["value"])
    return named


def print_steering(console: Console, table: pa.Table) -> None:
    """By arm, for each layer in which paths begin, later layer, strength and place."""
    say(console, ("\nWhat steering does to later features and to the next token (95 % over documents)", "bold"))
    cells: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in means_of(table):
        cells.setdefault(tuple(row[name] for name in _ABOUT), {})[row["metric"]] = row
    for about in dict.fromkeys(key[:-1] for key in cells):
        dataset, source, target, where, strength = about
        at = f"added at layer {source}" if where == FIRST else f"added at each layer from {source}"
        say(console, (f"{dataset}, {strength:g} typical activations {at}, seen in layer {target}", "italic"))
        columns = _COLUMNS if where == FIRST else {name: one for name, one in _COLUMNS.items() if name != AGREEMENT}
        shown = plain_table("path", *columns.values())
        for arm in ARMS:
            found = cells.get((*about, arm), {})
            shown.add_row(arm.replace("_", " "), *(_cell(found.get(metric)) for metric in columns))
        console.print(shown)


def steering_picture(table: pa.Table) -> Iterator[Picture]:
    """Each arm by later layer, at the smallest strength."""
    means = [row for row in means_of(table) if row["value"] is not None]
    if not means:
        return
    source, strength = means[0]["source_layer"], min((row["strength"] for row in means), key=abs)
    rows = [row for row in means if (row["source_layer"], row["strength"]) == (source, strength)]
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    kinds = [kind for kind in _SHOWN if any((row["where"], row["metric"]) == kind for row in rows)]
    figure, drawn = panels(len(kinds) * len(datasets), most=max(1, len(kinds)), height=3.2, sharey=False)
    shown: list[Mapping[str, object]] = []
    for number, (dataset, kind) in enumerate((dataset, kind) for dataset in datasets for kind in kinds):
        some = [row for row in rows if (row["dataset"], row["where"], row["metric"]) == (dataset, *kind)]
        whole = kind[1] == EFFECT
        if whole:
            # A path moves the next token once, whichever of its layers is looked at.
            some = [row for row in some if row["target_layer"] == max(one["target_layer"] for one in some)]
        _draw(drawn[number], some)
        titled(drawn[number], dataset)
        drawn[number].set_ylabel(_SHOWN[kind])
        drawn[number].set_xlabel("the whole path" if whole else "layer")
        if whole:
            set_ticks(drawn[number], [])
        shown += some
    add_legend(figure, drawn)
    yield Picture("steering", figure, shown)


def _draw(panel: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for turn, arm in enumerate(ARMS):
        colour, marker = look(turn)
        some = sorted((row for row in rows if row["arm"] == arm), key=lambda row: int(row["target_layer"]))
        places = [row["target_layer"] + 0.1 * (turn - 1.5) for row in some]
        values = [row["value"] for row in some]
        panel.plot(places, values, color=colour, marker=marker, markersize=4, label=arm.replace("_", " "))
        for place, row in zip(places, some, strict=True):
            if row["low"] is not None:
                panel.plot([place, place], [row["low"], row["high"]], color=colour, linewidth=1.2)
    panel.axhline(0, color=GREY, linewidth=0.8)
    set_ticks(panel, sorted({row["target_layer"] for row in rows}))


def _cell(row: Mapping[str, Any] | None) -> Text:
    if row is None or row["value"] is None:
        return Text("-" if row is None else str(row["said"]))
    return estimate_cell(Estimate(row["value"], row["low"], row["high"]))
