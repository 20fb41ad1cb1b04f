"""What became of features, for a terminal: how many stayed one, split, merged, are new or gone, and which."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rich.table import Table

from sae_match.matching.layers import Pair
from sae_match.matching.relations.kinds import KINDS, MERGE, SPLIT
from sae_match.matching.relations.lives import DEATHS, Lives
from sae_match.matching.relations.result import MOST_DRAWN, Relations
from sae_match.report.tables import plain_table

Called = Callable[[Pair, int, int], str]
"""What a feature is called: of a pair of layers, on its side (0: source, 1: target), by its number."""
# Of each kind, and children that are named of one parent.
_EXAMPLES, _NAMED = 2, 4
# Ways in which a life can end that is worth telling of.
_ENDS = ("splits", "merges", "ends")


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


def large_line(found: Iterable[Relations]) -> str:
    """That there are components of too many features; empty where there is none."""
    large = too_large(found)
    told = f"{large} group{'s' * (large != 1)} of more than {MOST_DRAWN} features: counted, never drawn"
    return told if large else ""


def example_lines(found: Mapping[Pair, Relations], called: Called) -> Iterator[str]:
    """The largest and the surest splits and merges, by the names of their features.

    The surest are those whose weakest child is nearest to its parent.

    Args:
        found: What became of the features of each pair of layers.
        called: What a feature is called.
    """
    for kind in (SPLIT, MERGE):
        for what in ("largest", "surest"):
            best: list[tuple[float, Pair, int]] = []
            for pair, relations in found.items():
                chosen = relations.largest(kind, _EXAMPLES) if what == "largest" else relations.surest(kind, _EXAMPLES)
                for component in chosen.tolist():
                    weakest = float(relations.edges.whitened[relations.edge_component == component].min())
                    rank = float(relations.sizes[component]) if what == "largest" else weakest
                    best.append((rank, pair, component))
            best.sort(key=lambda one: -one[0])
            for _, pair, component in best[:_EXAMPLES]:
                yield f"{KINDS[kind]}, {what}: {_told(found[pair], pair, component, kind, called)}"


def life_lines(chains: Sequence[Lives], called: Callable[[int, int], str]) -> Iterator[str]:
    """The longest lives that end within the layers, one of each way to end, in words.

    Args:
        chains: Of layers.
        called: What a feature of a layer is called.
    """
    for chain in chains:
        length = chain.last - chain.first
        for way in _ENDS:
            number = next(number for number, name in DEATHS.items() if name == way)
            ending = (chain.death == number).nonzero().flatten()
            if not len(ending):
                continue
            life = int(ending[length[ending].argmax()])
            first, last = chain.layers[int(chain.first[life])], chain.layers[int(chain.last[life])]
            behind = chain.layers[int(chain.last[life]) + 1]
            name = called(first, int(chain.feature[life]))
            yield f"{way}: {first}/{name} is one and the same up to layer {last}, and {way} at layer {behind}"


def _told(relations: Relations, pair: Pair, component: int, kind: int, called: Called) -> str:
    """A split or a merge in words, its strongest children first."""
    edges = (relations.edge_component == component).nonzero().flatten()
    edges = edges[relations.edges.statistic[edges].argsort(descending=True, stable=True)]
    side = 0 if kind == SPLIT else 1
    ends = relations.edges.source[edges].tolist(), relations.edges.target[edges].tolist()
    parent, children = called(pair, side, ends[side][0]), ends[1 - side]
    named = [
        f"{called(pair, 1 - side, child)} {float(relations.edges.statistic[edge]):.2f}"
        for edge, child in zip(edges[:_NAMED].tolist(), children[:_NAMED], strict=True)
    ]
    more = f" and {len(children) - _NAMED} more" if len(children) > _NAMED else ""
    listed = f"{', '.join(named)}{more}"
    return f"{parent} → {listed}" if kind == SPLIT else f"{listed} → {parent}"


def _largest(relations: Relations) -> str:
    sizes = [
        int(relations.sizes[components[0]]) - 1
        for kind in (SPLIT, MERGE)
        if len(components := relations.largest(kind, 1))
    ]
    return str(max(sizes)) if sizes else "-"
