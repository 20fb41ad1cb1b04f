"""What became of features and what their relatives do on text: files of a run, and tables for the terminal."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sae_match.evaluation.plan import Pair
from sae_match.evaluation.relations.overlap import MeanShare
from sae_match.evaluation.relations.tables import (
    LIFE_COLUMNS,
    LIVES,
    SPLITS,
    added_table,
    edge_table,
    feature_table,
    life_rows,
    save_parquet,
    write_splits,
)
from sae_match.files import write_rows
from sae_match.matching.relations.kinds import APPEAR, KINDS
from sae_match.matching.relations.lives import Lives, chains_of
from sae_match.owned import kept_in_record
from sae_match.report.relatives import example_lines, large_line, life_lines, relations_table
from sae_match.report.tables import estimate_cell, plain_table
from sae_match.report.validation.outcome import Outcome
from sae_match.saes.two import end_name, pair_name
from sae_match.terminal import say

_NEW = (
    "of the target's features, those that are new to the source's\ndictionary (each, added alone, lowers its error); "
    "the others tell again\nwhat it knows"
)
# More pairs of layers than these have a line each for what is new, not one for each kind.
_FEW = 3


def lives_of(outcome: Outcome) -> list[Lives]:
    """Chains of relations over layers; none of two collections."""
    return chains_of(outcome.relations) if outcome.relations and outcome.names is None else []


def save_relatives(outcome: Outcome, folder: Path) -> None:
    """Write what became of features: splits and merges, all features and edges, what is new, and lives over layers."""
    if not outcome.relations:
        return
    write_splits(folder / SPLITS, outcome.relations, outcome.overlaps)
    for pair, relations in outcome.relations.items():
        overlaps = {dataset: one for (at, dataset), one in outcome.overlaps.items() if at == pair}
        stitched = {dataset: one for (at, dataset), one in outcome.stitched.items() if at == pair}
        tables = {"features": feature_table(relations), "edges": edge_table(relations, overlaps)}
        if stitched:
            tables["added"] = added_table(relations, stitched)
        for name, table in tables.items():
            file = folder / "relations" / f"{pair_name(pair, outcome.names)}_{name}.parquet"
            with kept_in_record(file):
                save_parquet(table, file)
    if chains := lives_of(outcome):
        write_rows(folder / LIVES, life_rows(chains), LIFE_COLUMNS)


def print_relatives(console: Console, outcome: Outcome) -> None:
    """How many features split, merged, are new or gone; which; what relatives do on text; what is new there."""
    if not outcome.relations:
        return
    say(console, ("\nWhat became of the features?", "bold"))
    say(console, ("Groups of relatives, and single features", "italic"))
    console.print(relations_table(outcome.relations, {pair: _layers(pair) for pair in outcome.relations}))
    if line := large_line(outcome.relations.values()):
        say(console, line)
    say(console, ("\nFor example, with the mean of encoder's and decoder's cosine", "italic"))
    for line in example_lines(outcome.relations, lambda pair, side, feature: _called(outcome, pair, side, feature)):
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    for line in life_lines(lives_of(outcome), lambda layer, feature: _named(outcome, layer, feature)):
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    for dataset in dict.fromkeys(dataset for _, dataset in outcome.overlaps):
        of = {pair: one for (pair, at), one in outcome.overlaps.items() if at == dataset}
        say(console, (f"\n{dataset}: of a child's activity, the share that lies in its parent's", "italic"))
        console.print(_shares({pair: one.mean_containment for pair, one in of.items()}))
        say(console, (f"\n{dataset}: of a parent's activity, the share that lies in any child's", "italic"))
        console.print(_shares({pair: one.mean_coverage for pair, one in of.items()}))
    for dataset in dict.fromkeys(dataset for _, dataset in outcome.stitched):
        say(console, (f"\n{dataset}: {_NEW}", "italic"))
        console.print(_new(outcome, dataset))
    for line in alone_lines(outcome):
        console.print(Padding(Text(line), (1, 0, 0, 2)))


def alone_lines(outcome: Outcome) -> Iterator[str]:
    """Whether the features that only one of two dictionaries has write to the same part of the residual stream."""
    for pair, space in sorted(outcome.spaces.items()):
        names = " and ".join(f"{count:,}" for count in space.features)
        yield (
            f"{_layers(pair)}: {names} features have no significant partner. The leading {space.dimension} directions "
            f"that they write to share {space.shared:.3f} (mean squared cosine of principal angles), random spaces "
            f"{float(space.random.mean()):.3f}, as many features drawn from both {float(space.drawn.mean()):.3f} "
            f"(p {space.p_drawn:.2f})."
        )


def _shares(means: Mapping[Pair, Mapping[str, MeanShare]]) -> Table:
    """One line a pair of layers: mean shares by kind with intervals over documents, and those of random features."""
    kinds = [name for name in KINDS[:APPEAR] if any(name in of for of in means.values())]
    table = plain_table("layers", *kinds)
    for pair, of in sorted(means.items()):
        table.add_row(_layers(pair), *(_with_control(of[name]) if name in of else Text("-") for name in kinds))
    return table


def _new(outcome: Outcome, dataset: str) -> Table:
    """Features that are active often enough, the share that is new, and the shares of which that is sure."""
    table = plain_table("layers", "kind", "features", "new", "surely", "surely not")
    found = {pair: one for (pair, at), one in outcome.stitched.items() if at == dataset}
    few = len(found) <= _FEW
    for pair, stitched in sorted(found.items()):
        for kind, share in stitched.shares.items():
            if few or kind in ("all", KINDS[APPEAR]):
                sure = f"{share.surely_new:.1%}", f"{share.surely_known:.1%}"
                table.add_row(_layers(pair), kind, f"{share.features:,}", estimate_cell(share.new), *sure)
    return table


def _with_control(mean: MeanShare) -> Text:
    return Text.assemble(estimate_cell(mean.share), (f"\nrandom {mean.control.value:.3f}", "dim"))


def _called(outcome: Outcome, pair: Pair, side: int, feature: int) -> str:
    """A feature's layer, number and what it fires on."""
    end = outcome.ends(pair)[side]
    return f"{end_name(end, outcome.names)}/{_named(outcome, end, feature)}"


def _named(outcome: Outcome, end: int, feature: int) -> str:
    label = "" if outcome.passages is None else outcome.passages.label(end, feature)
    return f"{feature} ({label})" if label else str(feature)


def _layers(pair: Pair) -> str:
    return f"{pair[0]} → {pair[1]}"
