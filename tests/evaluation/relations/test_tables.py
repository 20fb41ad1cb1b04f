import csv
import math

import pyarrow.parquet as pq
import pytest
import torch

from sae_match.evaluation.relations.activity import PairedActivity
from sae_match.evaluation.relations.findings import kind_shares, results_of
from sae_match.evaluation.relations.overlap import overlap
from sae_match.evaluation.relations.stitching import StitchingSums
from sae_match.evaluation.relations.tables import (
    SPLIT_COLUMNS,
    edge_table,
    feature_table,
    save_parquet,
    split_rows,
    write_splits,
)
from sae_match.evaluation.statistics.streaming import Active
from sae_match.matching.relations.kinds import Components
from sae_match.matching.relations.result import Edges, Relations, RelationsEvidence
from tests.conftest import random_sae

EVIDENCE = RelationsEvidence("second_moment", "mean", 8, 0, 0.05, 0.3, 80, 80, 0.3, 0.3, 0)


@pytest.fixture
def related() -> Relations:
    """Feature 0 stays, 1 splits into 1 and 2, 2 and 3 merge into 3; 4 ends, and 4 and 5 appear."""
    source, target = torch.tensor([[0, 0], [1, 1], [1, 2], [2, 3], [3, 3]]).T.contiguous()
    statistic = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5], dtype=torch.float64)
    true = torch.ones(5, dtype=torch.bool)
    edges = Edges(
        source, target, statistic, statistic - 0.1, statistic / 100, statistic / 50, true, true, statistic > 0.75
    )
    p = torch.full((5,), 0.01, dtype=torch.float64), torch.full((6,), 0.01, dtype=torch.float64)
    p[1][5] = math.nan
    return Relations(edges, Components.of(source, target, 5, 6), *p, EVIDENCE)


@pytest.fixture
def measured(related):
    generator = torch.Generator().manual_seed(0)
    record = PairedActivity(5, 6)
    f = (torch.rand(400, 5, generator=generator) < 0.3).float()
    g = torch.cat([f[:, [0, 1, 1]] * (torch.rand(400, 3, generator=generator) < 0.6), f[:, [2, 3, 4]]], 1)
    record.add(Active.of(f), Active.of(g), torch.arange(400) // 40)
    return overlap(related, record, dataset="prose")


def test_splits_have_their_parents_and_children(related, tmp_path):
    write_splits(tmp_path / "splits.csv", {(3, 4): related})
    with (tmp_path / "splits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == SPLIT_COLUMNS
    assert [(row["kind"], row["parent"], row["child"]) for row in rows] == [
        ("split", "1", "1"),
        ("split", "1", "2"),
        ("merge", "3", "2"),
        ("merge", "3", "3"),
    ]
    assert [float(row["statistic"]) for row in rows] == [0.8, 0.7, 0.6, 0.5]
    assert {row["features"] for row in rows} == {"3"}
    assert {row["containment"] + row["coverage"] + row["dataset"] for row in rows} == {""}
    assert [path.name for path in tmp_path.iterdir()] == ["splits.csv"]


def test_splits_say_what_was_measured(related, measured):
    rows = list(split_rows({(3, 4): related}, {((3, 4), "prose"): measured, ((3, 4), "code"): measured}))
    assert [row["dataset"] for row in rows] == ["prose"] * 4 + ["code"] * 4
    assert rows[0]["containment"] == float(measured.containment.value[1]) == 1.0
    assert rows[0]["coverage"] == rows[1]["coverage"] == float(measured.coverage.value[1])
    assert rows[2]["containment"] == pytest.approx(float(measured.containment.value[3]))
    control = measured.containment.control[1:]
    assert [row["containment_control"] for row in rows[:4]] == [
        None if math.isnan(value) else value for value in control.tolist()
    ]


def test_without_splits_there_are_columns_all_the_same(tmp_path):
    none = torch.zeros(0, dtype=torch.int64)
    empty = Edges(none, none, *(none.double(),) * 4, *(none.bool(),) * 3)
    write_splits(tmp_path / "splits.csv", {(0, 1): Relations(empty, Components.of(none, none, 5, 6), *_p(), EVIDENCE)})
    assert (tmp_path / "splits.csv").read_text().strip() == ",".join(SPLIT_COLUMNS)


def _p():
    return torch.ones(5, dtype=torch.float64), torch.ones(6, dtype=torch.float64)


def test_every_feature_has_a_kind(related, tmp_path):
    save_parquet(feature_table(related), tmp_path / "features.parquet")
    rows = pq.read_table(tmp_path / "features.parquet").to_pylist()
    assert [row["kind"] for row in rows] == [
        *("one to one", "split", "merge", "merge", "end"),
        *("one to one", "split", "split", "merge", "appear", "not tested"),
    ]
    assert [row["component"] for row in rows] == [0, 1, 2, 2, None, 0, 1, 1, 2, None, None]
    assert rows[1]["targets"] == 2
    assert rows[1]["drawn"] is True
    assert rows[4]["drawn"] is None
    assert rows[10]["p"] is None


def test_every_edge_has_what_was_measured(related, measured):
    bare = edge_table(related).to_pylist()
    assert [row["kind"] for row in bare] == ["one to one", "split", "split", "merge", "merge"]
    assert {row["containment"] for row in bare} == {None}
    rows = edge_table(related, {"prose": measured}).to_pylist()
    assert [row["containment"] for row in rows] == pytest.approx(measured.containment.value.tolist())
    assert [row["containment_tokens"] for row in rows] == measured.containment.tokens.tolist()


def test_shares_of_kinds_are_of_what_was_tested(related):
    found = kind_shares(related, "L03-L04")
    assert found["source_share_merge"].value == pytest.approx(2 / 5)
    assert found["source_share_end"].value == pytest.approx(1 / 5)
    assert found["target_share_appear"].value == pytest.approx(1 / 5)
    assert "source_share_appear" not in found
    for side in ("source", "target"):
        assert sum(each.value for name, each in found.items() if name.startswith(side)) == pytest.approx(1)


def test_numbers_of_a_pair_are_rows_of_the_results(related, measured):
    narrow, wide = random_sae(0, 6, 5), random_sae(1, 6, 6)
    sums = StitchingSums(narrow, wide)
    sums.add(3 * torch.randn(400, 6, generator=torch.Generator().manual_seed(1)), torch.arange(400) // 40)
    stitched = sums.found("prose", kind=related.target_kind)
    rows = list(results_of((3, 4), related, {"prose": measured}, {"prose": stitched}))
    assert {(row.source_layer, row.target_layer, row.arm) for row in rows} == {(3, 4, "relations")}
    metrics = {(row.dataset, row.metric): row for row in rows}
    assert len(metrics) == len(rows)
    assert metrics["weights", "source_share_split"].value == pytest.approx(1 / 5)
    assert metrics["prose", "new_all"].value == stitched.shares["all"].new.value
    assert metrics["prose", "new_all"].documents == 10
