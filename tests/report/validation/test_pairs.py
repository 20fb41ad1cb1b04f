import dataclasses
import math

import pyarrow.parquet as pq
import pytest
import torch

from sae_match import Matching
from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.significance.coactivation import FEWEST_ACTIVATIONS
from sae_match.evaluation.statistics.streaming import SPREAD_COLUMNS, DocumentVectors, PairActivity
from sae_match.evaluation.statistics.tally import Layout, Tally
from sae_match.matching.significance.alternatives import Alternatives
from sae_match.matching.significance.judging import Judged
from sae_match.matching.significance.result import NullEvidence, Significance
from sae_match.report.pair_tables import save_tables
from sae_match.report.validation.pairs import pair_table
from tests.report.validation.pairs import counted, found


@pytest.fixture
def tally():
    return counted()


@pytest.fixture
def table(tally):
    return pair_table((0, 1), found(), tally)


def test_pairs_carry_costs_cosines_and_counts_the_cheapest_first(table):
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (0, 1, "prose", 2, 0, 0.5, 0.25, -1.0, 0, 6, 0, None, 0.0, 0.0, 6, "too few", *[None] * 8),
        (0, 1, "prose", 0, 2, 1.5, 0.5, 0.75, 4, 8, 3, 0.75, 0.375, 3 / 9, 9, "too few", *[None] * 8),
        (0, 1, "code", 2, 0, 0.5, 0.25, -1.0, 1, 0, 0, 0.0, None, 0.0, 1, "too few", *[None] * 8),
        (0, 1, "code", 0, 2, 1.5, 0.5, 0.75, 1, 1, 1, 1.0, 1.0, 1.0, 1, "too few", *[None] * 8),
    ]


def test_what_is_known_by_weights_stands_beside_each_pair_and_says_which_is_a_match(tally):
    matching = found().matchings["matched"]
    values = torch.tensor([[0.5, math.nan, 0.25], [0.125, math.nan, 0.75], [0.2, math.nan, 0.75]], dtype=torch.float64)
    evidence = NullEvidence("second_moment", "mean", 1, 0, (1,), 3, 1.0, (0.0,) * 12)
    about = Significance(matching, *values, torch.tensor([True, True, True]), evidence)
    agree = torch.tensor([[True, False, False], [False, False, True], [True, False, True]])
    beside = Alternatives(torch.tensor([0.5, math.nan, math.nan], dtype=torch.float64), *agree)
    judged = dataclasses.replace(found(), judged=Judged(about, beside))
    for alpha, words in ((0.05, ["not significant"] * 2), (0.2, ["not significant", "significant"])):
        rows = pair_table((0, 1), judged, tally, alpha).to_pylist()[:2]
        assert [row["significance"] for row in rows] == words
    assert [list(row.values())[-8:] for row in rows] == [
        [0.25, 0.75, 0.75, "not significant", None, False, True, True],
        [0.5, 0.125, 0.2, "significant", 0.5, True, False, True],
    ]


@pytest.mark.parametrize(("either", "state"), [(FEWEST_ACTIVATIONS - 1, "too few"), (FEWEST_ACTIVATIONS, "enough")])
def test_too_few_activations_are_a_state_of_their_own(either, state):
    one = Tally(Layout([(0, 1)], ["matched"], ["prose"], 2, {0: 3, 1: 3}))
    weights, nothing = (
        bootstrap_weights("prose", [0], 0),
        (torch.zeros(1, SPREAD_COLUMNS).double(), torch.zeros(2).double()),
    )
    for layer, active in ((0, [either - 5, 0, 0]), (1, [0, 0, 8])):
        counts = torch.tensor([[1.0, 99.0]]).double()
        one.add_layer(
            (layer, "prose"),
            DocumentVectors(*(each.double() for each in nothing)),
            counts,
            torch.tensor(active),
            weights,
        )
    activity = PairActivity(torch.zeros(1, 3).double(), torch.tensor([3, 0, 0]))
    one.add_pairs(((0, 1), "matched", "prose"), activity, weights)
    row = pair_table((0, 1), found(), one).to_pylist()[1]
    assert (row["source_feature"], row["either_active"], row["activations"]) == (0, either, state)


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
