"""What became of features, as a table on a terminal: how many stayed one, split, merged, are new or gone."""

from collections.abc import Iterable, Mapping

from rich.table import Table

from sae_match.matching.layers import Pair
from sae_match.matching.relations.kinds import KINDS, MERGE, SPLIT
from sae_match.matching.relations.result import Relations
from sae_match.report.tables import plain_table


def relations_table(found: Mapping[Pair, Relations], called: Mapping[Pair, str]) -> Table:
    """One line a pair of layers: components of several features by kind, and single features.

    Args:
        found: What became of the features of each pair of layers.
        called: How each pair is called.
    """
    table = plain_table("layers", *(name.replace(" ", "\n", 1) for name in KINDS), "largest\nsplit or\nmerge")
    for pair, relations in sorted(found.items()):
        counts = relations.counts
        table.add_row(called[pair], *(f"{counts[name]:,}" for name in KINDS), _largest(relations))
    return table


def too_large(found: Iterable[Relations]) -> int:
    """Components that have too many features to be drawn."""
    return sum(len(relations.too_large()) for relations in found)


def _largest(relations: Relations) -> str:
    sizes = [
        int(relations.sizes[components[0]]) - 1
        for kind in (SPLIT, MERGE)
        if len(components := relations.largest(kind, 1))
    ]
    return str(max(sizes)) if sizes else "-"
