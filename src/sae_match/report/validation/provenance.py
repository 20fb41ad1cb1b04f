"""Where features come from: tables and graph of a run, and short tables for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from sae_match.evaluation.provenance.findings import PROVENANCE
from sae_match.evaluation.provenance.graph import feature_graph
from sae_match.evaluation.provenance.kinds import KINDS, NOT_TESTED
from sae_match.evaluation.provenance.sources import SOURCES
from sae_match.evaluation.provenance.study import Provenance
from sae_match.evaluation.provenance.tables import provenance_table
from sae_match.evaluation.relations.tables import save_parquet
from sae_match.evaluation.statistics.results import WEIGHTS, Result
from sae_match.owned import kept_in_record
from sae_match.report.tables import plain_table
from sae_match.saes.two import end_file
from sae_match.terminal import say

#: Name of the graph's files.
GRAPH = "graph"


def save_provenance(found: Provenance | None, folder: Path) -> None:
    """Write a table of each layer's features, and the graph of the chosen ones; nothing where it was not asked."""
    if found is None:
        return
    for layer in found.layers:
        file = folder / f"{end_file(layer)}.parquet"
        with kept_in_record(file):
            save_parquet(provenance_table(found, layer), file)
    files = [folder / f"{GRAPH}.json", folder / f"{GRAPH}.graphml"]
    known = [(layer, feature) for layer, feature in found.chosen if layer in found.layers]
    with kept_in_record(*files):
        feature_graph(found, known).save(folder, GRAPH)


def print_provenance(console: Console, found: Provenance | None, results: Sequence[Result]) -> None:
    """Shares of each kind by layer, beside the literature's cuts, and what modules contribute on text."""
    if found is None:
        return
    rows = {(row.target_layer, row.dataset, row.metric): row for row in results}
    say(console, ("\nWhere do features come from? (q-values; in brackets by the cuts 0.5 and 0.15)", "bold"))
    kinds = KINDS[:NOT_TESTED]
    table = plain_table("layer", *kinds, "ends")
    for layer in found.layers:
        cells = [
            f"{_share(rows, layer, f'share_{_named(kind)}')} ({_share(rows, layer, f'cut_share_{_named(kind)}')})"
            for kind in kinds
        ]
        table.add_row(str(layer), *cells, _share(rows, layer, "share_ends"))
    console.print(table)
    for dataset in found.datasets:
        _print_contributions(console, found, dataset, rows)


def _print_contributions(
    console: Console, found: Provenance, dataset: str, rows: Mapping[tuple[int, str, str], Result]
) -> None:
    said = f"\n{dataset}: what raises a feature above its mean where it is active\n(stream before, MLP, attention)"
    say(console, (said, "italic"))
    kinds = KINDS[:NOT_TESTED]
    table = plain_table("layer", *kinds)
    for layer in found.layers:
        cells = []
        for kind in kinds:
            shares = [_share(rows, layer, f"contribution_{source}_{_named(kind)}", dataset) for source in SOURCES]
            cells.append("-" if shares[0] == "-" else " ".join(shares))
        table.add_row(str(layer), *cells)
    console.print(table)


def _share(rows: Mapping[tuple[int, str, str], Result], layer: int, metric: str, dataset: str = WEIGHTS) -> str:
    row = rows.get((layer, dataset, metric))
    return "-" if row is None else f"{row.value:.2f}"


def _named(kind: str) -> str:
    return kind.replace(" ", "_")


def rows_by_layer(rows: Sequence[Result], metric: str, dataset: str = WEIGHTS) -> list[Result]:
    """Rows of one metric, in the order of layers."""
    chosen = (row for row in rows if (row.arm, row.metric, row.dataset) == (PROVENANCE, metric, dataset))
    return sorted(chosen, key=lambda row: row.target_layer)
