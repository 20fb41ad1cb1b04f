"""Tables of pairs of weights alone, against plain loops."""

import math

import pyarrow.parquet as pq
import pytest
import torch

from sae_match import match
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.judging import judge
from sae_match.matching.significance.likeness import likeness
from sae_match.report.matchings import cosine_quantiles, cosine_table
from sae_match.report.pair_tables import labelled, save_tables, weights_table
from tests.conftest import random_sae


@pytest.fixture(scope="module")
def saes():
    return random_sae(0, d_sae=12), random_sae(1, d_sae=9)


@pytest.fixture(scope="module")
def table(saes):
    matching = match(*saes)
    return weights_table((3, 4), matching, likeness(*saes, matching))


def test_every_pair_has_its_cost_and_cosines_the_cheapest_first(saes, table):
    source, target = saes
    matching, rows = match(*saes), table.to_pylist()
    pairs = sorted((float(matching.pair_cost[i]), i, j) for i, j in enumerate(matching) if j is not None)
    assert [(row["cost"], row["source_feature"], row["target_feature"]) for row in rows] == pairs
    for row in rows:
        i, j = row["source_feature"], row["target_feature"]
        encoder = float(torch.cosine_similarity(source.W_enc[:, i], target.W_enc[:, j], dim=0))
        decoder = float(torch.cosine_similarity(source.W_dec[i], target.W_dec[j], dim=0))
        assert (row["source_layer"], row["target_layer"]) == (3, 4)
        assert (row["encoder_cosine"], row["decoder_cosine"]) == pytest.approx((encoder, decoder), abs=1e-6)
        assert row["statistic"] == pytest.approx((encoder + decoder) / 2, abs=1e-6)


def test_margin_and_mutual_nearest_are_known_without_judging(saes, table):
    source, target = saes
    alike = (
        torch.nn.functional.normalize(source.W_enc.T) @ torch.nn.functional.normalize(target.W_enc.T).T
        + torch.nn.functional.normalize(source.W_dec) @ torch.nn.functional.normalize(target.W_dec).T
    ) / 2
    for row in table.to_pylist():
        i, j = row["source_feature"], row["target_feature"]
        others = max(float(alike[i, k]) for k in range(9) if k != j)
        assert row["margin"] == pytest.approx(float(alike[i, j]) - others, abs=1e-6)
        assert row["mutual_nearest"] is (int(alike[i].argmax()) == j and int(alike[:, j].argmax()) == i)
        assert (row["p"], row["q"], row["significance"], row["encoder_agrees"]) == (None, None, "not tested", None)


def test_what_is_judged_is_said_beside_it(saes, tmp_path, table):
    matching = match(*saes)
    judged = judge(*saes, matching, 1, settings=MatcherSettings(), cache=MatchingCache(tmp_path))
    found = weights_table((3, 4), matching, likeness(*saes, matching, judged=judged), judged)
    assert found.column_names == table.column_names
    for row in found.to_pylist():
        i = row["source_feature"]
        q = float(judged.significance.q[i])
        assert row["q"] == q
        assert row["significance"] == ("significant" if q <= 0.05 else "not significant")
        assert row["encoder_agrees"] is bool(judged.beside.encoder_agrees[i])


def test_columns_are_named_as_documented(table):
    assert [name for name in table.column_names if f"`{name}`" not in weights_table.__doc__] == []


def test_labels_stand_beside_their_features_and_are_read_back(table, tmp_path):
    called = [f"source {i}" for i in range(12)], [f"target {j}" for j in range(9)]
    (file,) = save_tables({(3, 4): labelled(table, *called)}, tmp_path / "pairs")
    for row in pq.read_table(file).to_pylist():
        assert row["source_label"] == f"source {row['source_feature']}"
        assert row["target_label"] == f"target {row['target_feature']}"


def test_quantiles_of_cosines_are_those_of_the_table(table):
    found = cosine_quantiles(table)
    assert len(found) == 10
    for part, side in (("encoder", found[:5]), ("decoder", found[5:])):
        ordered = sorted(row[f"{part}_cosine"] for row in table.to_pylist())
        # Linear between the two ranks that a share falls between.
        for share, value in zip((0.05, 0.25, 0.5, 0.75, 0.95), side, strict=True):
            at = share * (len(ordered) - 1)
            low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
            assert value == pytest.approx(low + (at - math.floor(at)) * (high - low))
    assert cosine_table({"3 → 4": found}).row_count == 1


def test_layers_without_a_pair_have_no_quantiles(table):
    assert cosine_quantiles(table.slice(0, 0)) == [None] * 10
    assert cosine_table({"3 → 4": [None] * 10}).row_count == 1
