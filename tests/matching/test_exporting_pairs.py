"""Pairs of a matching in the files of other programs."""

import json
import math

import networkx
import pandas
import pytest
import torch

from sae_match import Matching
from sae_match.errors import UserError


def a_matching():
    costs = torch.tensor([0.5, math.nan, math.nan, 2.0], dtype=torch.float64)
    return Matching(torch.tensor([2, -1, 0, 5]), costs, 1.5, {"solver": "dense"})


def test_tables_hold_the_pairs(tmp_path):
    for name, read in (("a.parquet", pandas.read_parquet), ("a.csv", pandas.read_csv)):
        pandas.testing.assert_frame_equal(read(a_matching().export(tmp_path / name)), a_matching().to_pandas())


def test_json_says_what_is_known_of_the_matching_too(tmp_path):
    said = json.loads(a_matching().export(tmp_path / "a.json").read_text("utf-8"))
    assert said["solver"] == "dense"
    assert (said["lower_bound"], said["cost"], said["features"]) == (1.5, 2.5, 4)
    assert said["pairs"] == [
        {"source_feature": 0, "target_feature": 2, "cost": 0.5},
        {"source_feature": 2, "target_feature": 0, "cost": None},
        {"source_feature": 3, "target_feature": 5, "cost": 2.0},
    ]


def test_a_graph_has_a_node_a_feature_and_an_edge_a_pair(tmp_path):
    graph = networkx.read_graphml(a_matching().export(tmp_path / "a.graphml"))
    assert {*graph.edges} == {("source:0", "target:2"), ("source:2", "target:0"), ("source:3", "target:5")}
    assert graph.nodes["target:5"] == {"side": "target", "feature": 5}
    assert graph.edges["source:3", "target:5"] == {"cost": 2.0}
    assert graph.edges["source:2", "target:0"] == {}


def test_bounds_that_are_not_finite_are_left_out(tmp_path):
    unproven = Matching(torch.tensor([0]), torch.tensor([1.0], dtype=torch.float64))
    assert "lower_bound" not in json.loads(unproven.export(tmp_path / "a.json").read_text("utf-8"))


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"pairs are written as \.parquet, \.csv, \.json, \.graphml"):
        a_matching().export(tmp_path / "a.xlsx")
