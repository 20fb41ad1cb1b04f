"""The graph of chosen features over all layers and sites: what each is like before it, in its layer, and behind it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from sae_match.errors import UserError
from sae_match.evaluation.provenance.kinds import KINDS
from sae_match.evaluation.provenance.sources import Source
from sae_match.evaluation.provenance.study import Provenance
from sae_match.files import written_whole

#: The file format, for whoever reads the JSON.
FORMAT, VERSION = "sae_match.feature_graph", 1


class Node(NamedTuple):
    """A feature: where it is, and its number there."""

    site: Source
    layer: int
    feature: int

    @property
    def id(self) -> str:
        """What it is called in a file: `residual/L03/17`."""
        return f"{self.site}/L{self.layer:02d}/{self.feature}"


@dataclass(frozen=True)
class Edge:
    """A feature that comes from another, significantly.

    Attributes:
        source, target: From which, and which.
        cosine: Of their decoder rows in the residual stream.
        q: That chance has a row as near.
    """

    source: Node
    target: Node
    cosine: float
    q: float


@dataclass(frozen=True)
class FeatureGraph:
    """Chosen features with all that they come from and all that comes from them.

    Attributes:
        chosen: The chosen features.
        nodes: All features, those of early layers first.
        edges: From what each comes.
        kinds: Kind of each residual feature.
    """

    chosen: tuple[Node, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    kinds: dict[Node, str]

    def save(self, folder: Path, name: str = "graph") -> list[Path]:
        """Write as JSON and as GraphML; returns the files."""
        files = [folder / f"{name}.json", folder / f"{name}.graphml"]
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(files[0]) as temporary:
            temporary.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")
        with written_whole(files[1]) as temporary:
            temporary.write_bytes(self.as_graphml())
        return files

    def as_json(self) -> dict[str, object]:
        """As nested plain values."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "chosen": [node.id for node in self.chosen],
            "nodes": [{"id": node.id, **node._asdict(), "kind": self.kinds.get(node)} for node in self.nodes],
            "edges": [{**asdict(edge), "source": edge.source.id, "target": edge.target.id} for edge in self.edges],
        }

    def as_graphml(self) -> bytes:
        """As GraphML, for Gephi, Cytoscape, networkx and the like."""
        root = ElementTree.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
        keys = (
            *(("node", name, kind) for name, kind in _OF_NODES.items()),
            *(("edge", name, "double") for name in ("cosine", "q")),
        )
        for of, name, kind in keys:
            ElementTree.SubElement(root, "key", {"id": name, "for": of, "attr.name": name, "attr.type": kind})
        graph = ElementTree.SubElement(root, "graph", edgedefault="directed")
        for node in self.nodes:
            element = ElementTree.SubElement(graph, "node", id=node.id)
            given = {**node._asdict(), "kind": self.kinds.get(node, ""), "chosen": str(node in self.chosen).lower()}
            for name in _OF_NODES:
                ElementTree.SubElement(element, "data", key=name).text = str(given[name])
        for edge in self.edges:
            element = ElementTree.SubElement(graph, "edge", source=edge.source.id, target=edge.target.id)
            ElementTree.SubElement(element, "data", key="cosine").text = repr(edge.cosine)
            ElementTree.SubElement(element, "data", key="q").text = repr(edge.q)
        ElementTree.indent(root)
        whole: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
        return whole + b"\n"


_OF_NODES = {"site": "string", "layer": "int", "feature": "int", "kind": "string", "chosen": "boolean"}


def feature_graph(found: Provenance, chosen: Iterable[tuple[int, int]]) -> FeatureGraph:
    """The graph of chosen features: of each, backwards all that it comes from, and onwards all that comes from it.

    Args:
        found: Where features come from.
        chosen: Pairs of layer and feature.

    Raises:
        UserError: If there is no such feature.
    """
    start = [Node("residual", layer, feature) for layer, feature in chosen]
    for node in start:
        if node.layer not in found.layers or not 0 <= node.feature < found.layers[node.layer].features:
            raise UserError(f"there is no feature {node.feature} of layer {node.layer} whose provenance is known")
    edges: dict[tuple[Node, Node], Edge] = {}
    for walk in (_sources, _followers):
        waiting, seen = list(start), set(start)
        while waiting:
            for edge in walk(found, waiting.pop()):
                edges[edge.source, edge.target] = edge
                other = edge.source if walk is _sources else edge.target
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
    ends = {node for pair in edges for node in pair} | set(start)
    nodes = sorted(ends, key=lambda node: (node.layer, _ORDER.index(node.site), node.feature))
    ordered = sorted(edges.values(), key=lambda edge: (nodes.index(edge.target), nodes.index(edge.source)))
    kinds = {
        node: KINDS[int(found.layers[node.layer].kinds[node.feature])]
        for node in nodes
        if node.site == "residual" and node.layer in found.layers
    }
    return FeatureGraph(tuple(dict.fromkeys(start)), tuple(nodes), tuple(ordered), kinds)


#: What stands first within a layer.
_ORDER: tuple[Source, ...] = ("attention", "mlp", "residual")


def _sources(found: Provenance, node: Node) -> Iterator[Edge]:
    """Edges to a feature from what it comes from."""
    if node.site != "residual" or node.layer not in found.layers:
        return
    one = found.layers[node.layer]
    for site, origin in one.origins.items():
        if bool(one.like(site)[node.feature]):
            layer = node.layer - 1 if site == "residual" else node.layer
            source = Node(site, layer, int(origin.nearest[node.feature]))
            yield Edge(source, node, float(origin.score[node.feature]), float(origin.q[node.feature]))


def _followers(found: Provenance, node: Node) -> Iterator[Edge]:
    """Edges from a feature to those of the next layer that come from it."""
    one = found.layers.get(node.layer + 1)
    if node.site != "residual" or one is None or "residual" not in one.origins:
        return
    origin = one.origins["residual"]
    for feature in (one.like("residual") & (origin.nearest == node.feature)).nonzero()[:, 0].tolist():
        target = Node("residual", node.layer + 1, feature)
        yield Edge(node, target, float(origin.score[feature]), float(origin.q[feature]))
