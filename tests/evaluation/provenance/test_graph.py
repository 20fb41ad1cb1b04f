import json
from xml.etree import ElementTree

import pytest
import torch

from sae_match.errors import UserError
from sae_match.evaluation.provenance.graph import Node, feature_graph
from sae_match.evaluation.provenance.kinds import LayerProvenance
from sae_match.evaluation.provenance.origins import Origin
from sae_match.evaluation.provenance.study import Provenance


def origin(*nearest_and_q):
    nearest, q = zip(*nearest_and_q, strict=True)
    q = torch.tensor(q, dtype=torch.float64)
    return Origin(torch.tensor(nearest), 1 - q, q, q)


def chain():
    """Three layers of two features: 0 → 0 → 1 with a sibling, and an MLP's feature 7 in layer 2."""
    near, far = 0.01, 0.5
    return Provenance(
        {
            1: LayerProvenance(1, {"residual": origin((0, near), (0, near)), "mlp": origin((3, far), (4, far))}, 0.05),
            2: LayerProvenance(2, {"residual": origin((1, far), (0, near)), "mlp": origin((7, far), (7, near))}, 0.05),
        },
        {},
        {},
    )


def test_all_that_a_feature_comes_from_and_all_that_comes_from_it():
    graph = feature_graph(chain(), [(1, 0)])
    assert [node.id for node in graph.nodes] == ["residual/L00/0", "residual/L01/0", "residual/L02/1"]
    assert [(edge.source.id, edge.target.id, edge.cosine) for edge in graph.edges] == [
        ("residual/L00/0", "residual/L01/0", 0.99),
        ("residual/L01/0", "residual/L02/1", 0.99),
    ]
    whole = feature_graph(chain(), [(2, 1)])
    assert [node.id for node in whole.nodes] == ["residual/L00/0", "residual/L01/0", "mlp/L02/7", "residual/L02/1"]
    assert whole.kinds[Node("residual", 2, 1)] == "processed"


def test_a_feature_without_relatives_stands_alone():
    graph = feature_graph(chain(), [(2, 0)])
    assert [node.id for node in graph.nodes] == ["residual/L02/0"]
    assert graph.kinds[graph.chosen[0]] == "unexplained"


def test_what_there_is_not_is_refused():
    with pytest.raises(UserError, match="there is no feature 2 of layer 1 whose provenance is known"):
        feature_graph(chain(), [(1, 2)])
    with pytest.raises(UserError, match="there is no feature 0 of layer 5"):
        feature_graph(chain(), [(5, 0)])


def test_both_files_hold_the_same(tmp_path):
    graph = feature_graph(chain(), [(2, 1), (2, 0)])
    as_json, as_xml = graph.save(tmp_path)
    told = json.loads(as_json.read_text())
    assert (told["format"], told["version"]) == ("sae_match.feature_graph", 1)
    assert told["chosen"] == ["residual/L02/1", "residual/L02/0"]
    space = {"": "http://graphml.graphdrawing.org/xmlns"}
    root = ElementTree.parse(as_xml).getroot()
    nodes = {
        node.get("id"): {data.get("key"): data.text for data in node.findall("data", space)}
        for node in root.findall("graph/node", space)
    }
    assert list(nodes) == [node["id"] for node in told["nodes"]]
    assert nodes["mlp/L02/7"] == {"site": "mlp", "layer": "2", "feature": "7", "kind": None, "chosen": "false"}
    edges = [(edge.get("source"), edge.get("target")) for edge in root.findall("graph/edge", space)]
    assert edges == [(edge["source"], edge["target"]) for edge in told["edges"]]
    cosines = [float(data.text) for data in root.findall("graph/edge/data[@key='cosine']", space)]
    assert cosines == [edge["cosine"] for edge in told["edges"]]
    keys = {key.get("id") for key in root.findall("key", space)}
    assert {data.get("key") for data in root.iter("{http://graphml.graphdrawing.org/xmlns}data")} <= keys
