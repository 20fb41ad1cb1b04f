import csv
import io

import pytest
from rich.console import Console

from sae_match.errors import UserError
from sae_match.report.comparison.comparison import chosen, markdown, save_tables, tables
from sae_match.report.comparison.joining import join
from sae_match.report.comparison.naming import in_full
from sae_match.report.runs import find_runs
from tests.report.made_up import METRICS, VALUES
from tests.report.run_folders import run_folder


@pytest.fixture
def compared(tmp_path):
    def make(arms=(), metrics=()):
        run_folder(tmp_path / "runs" / "0", "folded")
        run_folder(tmp_path / "runs" / "1", "unfolded")
        (joined,) = join(find_runs([tmp_path / "runs"])[0])
        return chosen(joined, list(arms), list(metrics))

    return make


def rows_of(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_long_tables_hold_every_number_of_every_run(compared, tmp_path):
    comparison = compared()
    save_tables(comparison, tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "comparison.csv")
    columns = ["run", "matcher", "span", "arm", "dataset", "metric", "value", "low", "high", "pairs"]
    assert list(rows[0]) == columns
    assert len(rows) == 2 * 2 * len(VALUES) * len(METRICS)
    assert {(row["run"], row["matcher"]) for row in rows} == {("0", "folded"), ("1", "unfolded")}
    by_layer = rows_of(tmp_path / "out" / "comparison_by_layer.csv")
    assert len(by_layer) == sum(len(run.results) for run in comparison.joined.runs)
    assert list(by_layer[0])[:4] == ["run", "matcher", "source_layer", "target_layer"]


def test_a_table_has_a_row_for_each_run_and_arm_that_is_asked_for(compared):
    comparison = compared(["random", "matched"], ["delta_loss"])
    made = dict(tables(comparison, in_full(comparison.joined)))
    assert set(made) == {"prose, neighbours", "code, neighbours"}
    console = Console(file=io.StringIO(), width=80)
    console.print(made["code, neighbours"])
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines == [
        ["matcher", "arm", "delta", "loss"],
        ["folded", "matched", "0.250", "0.125…0.375"],
        ["folded", "random", "0.500", "0.375…0.625"],
        ["unfolded", "matched", "0.250", "0.125…0.375"],
        ["unfolded", "random", "0.500", "0.375…0.625"],
    ]


def test_the_same_table_as_markdown(compared):
    lines = markdown(compared([], ["delta_loss"])).splitlines()
    assert lines[0] == "# 2 runs of model=bundled, text=bundled"
    assert "| matcher | arm | delta loss |" in lines
    assert "|---|---|---:|" in lines
    assert lines.count("| unfolded | matched | 0.250 (0.125…0.375) |") == 2


def test_the_ladder_of_matched_is_shown_where_nothing_is_asked_for(compared):
    comparison = compared()
    assert (comparison.arms, set(comparison.metrics)) == (["matched"], set(METRICS))
    assert (comparison.arm, comparison.span, comparison.datasets) == ("matched", 1, ["prose", "code"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"arms": ["mached"]}, "arms: no run has 'mached'; did you mean matched"),
        ({"metrics": ["jaccard"]}, "metrics: no run has 'jaccard'; there are explained_variance"),
    ],
)
def test_what_no_run_has_is_refused(compared, asked, message):
    with pytest.raises(UserError, match=message):
        compared(**asked)
