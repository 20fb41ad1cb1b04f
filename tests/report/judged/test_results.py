import csv
import math

import pytest

from sae_match.report.judged.judgements import of_neighbours, scored
from sae_match.report.judged.results import results_of, save_results, spans_of
from tests.report.judged.made_up import answers


def test_results_have_scores_and_shares():
    rows = {(row.arm, row.source_layer, row.target_layer, row.metric): row for row in results_of(answers(), "me")}
    row = rows["matched", 2, 3, "semantic_score"]
    assert (row.judge, row.questions, row.paths) == ("me", 10, 10)
    assert row.low < row.value < row.high
    assert rows["matched", 2, 3, "semantic_share_3"].value == 0.4
    assert math.isnan(rows["nearest", 2, 3, "semantic_share_1"].value)


def test_spans_have_what_tables_and_pictures_show():
    rows = {(row.span, row.arm, row.metric): row for row in spans_of(answers(), "me")}
    for arm, span in (("matched", 1), ("random", 1), ("identical", 0)):
        found = scored(of_neighbours(answers(), arm))
        row = rows[span, arm, "semantic_score"]
        assert (row.value, row.low, row.high, row.judge, row.pairs) == (found.value, found.low, found.high, "me", 3)
        assert (row.questions, row.paths) == (30, 10)
    assert rows[3, "composed", "semantic_score"].value == 1.5
    assert rows[1, "matched", "semantic_score_fifth_5"].value == 1


def test_tables_have_columns_named_for_what_they_hold(tmp_path):
    save_results({"one": answers(), "two": answers()}, tmp_path)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == "source_layer,target_layer,arm,judge,metric,value,low,high,questions,paths"
    assert [row["judge"] for row in rows] == ["one"] * (len(rows) // 2) + ["two"] * (len(rows) // 2)
    # No interval of a share: an empty cell.
    assert {row["low"] for row in rows if row["metric"] == "semantic_share_1"} == {""}
    with (tmp_path / "spans.csv").open(newline="") as file:
        spans = list(csv.DictReader(file))
    assert ",".join(spans[0]) == "span,arm,judge,metric,value,low,high,questions,paths,pairs"
    expected = [row.value for judge in ("one", "two") for row in spans_of(answers(), judge)]
    assert [float(row["value"]) for row in spans] == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
