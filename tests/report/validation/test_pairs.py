import dataclasses
import math

import pyarrow.parquet as pq
import pytest
import torch

from sae_match import Matching
from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.statistics.streaming import SPREAD_COLUMNS, DocumentVectors, PairActivity
from sae_match.evaluation.statistics.tally import Layout, Tally
from sae_match.report.validation.pairs import pair_table, save_tables

ACTIVE = {(0, "prose"): [4, 5, 0], (1, "prose"): [6, 7, 8], (0, "code"): [1, 1, 1], (1, "code"): [0, 2, 1]}
JOINT = {"prose": [3, 0, 0], "code": [1, 0, 0]}


def found():
    """Feature 0 is 2, feature 2 is 0, feature 1 is none."""
    matching = Matching(torch.tensor([2, -1, 0]), torch.tensor([1.5, math.nan, 0.5], dtype=torch.float64))
    cosines = torch.tensor([0.5, math.nan, 0.25]), torch.tensor([0.75, math.nan, -1.0])
    return PairMatchings({"matched": matching}, {}, {}, *cosines)


@pytest.fixture
def tally():
    tally = Tally(Layout([(0, 1)], ["matched"], ["prose", "code"], 2, {0: 3, 1: 3}))
    nothing = DocumentVectors(torch.zeros(1, SPREAD_COLUMNS).double(), torch.zeros(2).double())
    for dataset, joint in JOINT.items():
        weights = bootstrap_weights(dataset, [0], 0)
        for layer in (0, 1):
            active = torch.tensor(ACTIVE[layer, dataset])
            tally.add_layer((layer, dataset), nothing, torch.tensor([[1.0, 9.0]]).double(), active, weights)
        activity = PairActivity(torch.zeros(1, 3).double(), torch.tensor(joint))
        tally.add_pairs(((0, 1), "matched", dataset), activity, weights)
    return tally


@pytest.fixture
def table(tally):
    return pair_table((0, 1), found(), tally)


def test_pairs_carry_costs_cosines_and_counts_the_cheapest_first(table):
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (0, 1, "prose", 2, 0, 0.5, 0.25, -1.0, 0, 6, 0, None, 0.0, 0.0),
        (0, 1, "prose", 0, 2, 1.5, 0.5, 0.75, 4, 8, 3, 0.75, 0.375, 3 / 9),
        (0, 1, "code", 2, 0, 0.5, 0.25, -1.0, 1, 0, 0, 0.0, None, 0.0),
        (0, 1, "code", 0, 2, 1.5, 0.5, 0.75, 1, 1, 1, 1.0, 1.0, 1.0),
    ]


def test_columns_are_named_as_documented(table):
    for name in table.column_names:
        assert f"`{name}`" in pair_table.__doc__


def test_tables_are_read_back_as_they_were(table, tmp_path):
    (file,) = save_tables({(0, 1): table}, tmp_path / "pairs")
    assert file == tmp_path / "pairs" / "L00-L01.parquet"
    assert pq.read_table(file).equals(table)
    assert [one.name for one in (tmp_path / "pairs").iterdir()] == [file.name]


def test_layers_of_which_no_pair_survives_have_an_empty_table(tally, tmp_path):
    nothing = Matching(torch.full((3,), -1), torch.full((3,), math.nan, dtype=torch.float64))
    table = pair_table((0, 1), dataclasses.replace(found(), matchings={"matched": nothing}), tally)
    assert table.num_rows == 0
    (file,) = save_tables({(0, 1): table}, tmp_path)
    assert (file.name, pq.read_table(file).num_rows) == ("L00-L01.parquet", 0)
