"""Runs against the first of them, on the same documents and on others."""

import csv
import io

import pytest
from rich.console import Console

from sae_match.errors import UserError
from sae_match.evaluation.statistics.replicates import FILE
from sae_match.report.comparison.comparison import chosen, compared_with_first, markdown, save_tables, tables
from sae_match.report.comparison.differences import from_first, replicates_of
from sae_match.report.comparison.joining import join
from sae_match.report.comparison.naming import in_full
from sae_match.report.comparison.pictures import by_run_difference
from sae_match.report.runs import find_runs
from tests.report.made_up import METRICS
from tests.report.run_folders import keep_replicates, run_folder

SAME, LESS = ": no paired difference from 0", ": no run has a paired difference from it"


@pytest.fixture
def runs(tmp_path):
    """Three runs; the second is better by 0.05, which its own noise hides or not, the third by nothing."""

    def make(**second):
        keep_replicates(run_folder(tmp_path / "0", "folded"))
        keep_replicates(run_folder(tmp_path / "1", "unfolded"), more=0.05, **{"own": 0.001, **second})
        keep_replicates(run_folder(tmp_path / "2", "cosine"), own=0.2)
        (joined,) = join(find_runs([tmp_path])[0])
        return joined

    return make


def matched(rows, number, metric="delta_loss"):
    (found,) = (
        row
        for of, row in rows
        if (of, row.arm, row.metric, row.dataset, row.span) == (number, "matched", metric, "prose", 1)
    )
    return found


def test_what_is_alike_in_both_runs_is_not_in_their_difference(runs):
    """Each is uncertain by 0.2 / sqrt(3), four times what they differ by; the difference by a hundredth of that."""
    rows, notes = from_first(runs())
    row = matched(rows, 1)
    assert notes == []
    assert row.value == pytest.approx(0.05)
    assert 0.045 < row.low < row.value < row.high < 0.055
    third = matched(rows, 2)
    assert third.value == pytest.approx(0)
    assert third.low < 0 < third.high
    assert {number for number, _ in rows} == {1, 2}
    assert row.pairs == 3


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"text": "another"}, "1: other documents of prose, code"),
        ({"seed": 3}, "1: other draws of the same documents (evaluation.seed=3 instead of 0)"),
    ],
)
def test_runs_on_other_documents_or_draws_are_refused_a_paired_difference_and_it_is_said(runs, second, reason):
    rows, notes = from_first(runs(**second))
    assert notes == [f"{reason}{SAME} there"]
    assert {number for number, _ in rows} == {2}


def test_a_run_without_replicates_or_with_damaged_ones_has_none_and_it_is_said(runs, tmp_path):
    joined = runs()
    file = tmp_path / "1" / FILE
    spoilt = bytearray(file.read_bytes())
    spoilt[-1] ^= 1
    file.write_bytes(spoilt)
    (tmp_path / "2" / FILE).unlink()
    (joined,) = join(find_runs([tmp_path])[0])
    rows, notes = from_first(joined)
    assert rows == []
    assert notes == [
        f"1: {file} is damaged: it is not what its checksum says{SAME}",
        f"2: it keeps no replicates{SAME}",
    ]
    (tmp_path / "0" / FILE).unlink()
    (joined,) = join(find_runs([tmp_path])[0])
    assert from_first(joined) == (
        [],
        [f"0: it keeps no replicates{LESS}"],
    )


def test_a_run_by_itself_is_compared_with_none(tmp_path):
    run_folder(tmp_path / "0")
    (joined,) = join(find_runs([tmp_path])[0])
    assert from_first(joined) == ([], [])


def test_a_study_in_parts_has_the_replicates_of_all_of_them(tmp_path):
    for folder, arms in (("0", ["matched", "random"]), ("1", ["matched", "nearest"])):
        keep_replicates(run_folder(tmp_path / folder, arms=arms), arms=arms)
    (joined,) = join(find_runs([tmp_path])[0])
    (run,) = joined.runs
    assert {number.arm for number in replicates_of(run).values} == {"matched", "random", "nearest"}
    keep_replicates(tmp_path / "1", text="another", arms=["nearest"])
    with pytest.raises(UserError, match=r"1/replicates\.safetensors is of other documents than .*0/replicates"):
        replicates_of(run)


def test_differences_stand_in_tables_with_a_mark_where_they_may_be_none(runs, tmp_path):
    comparison = compared_with_first(chosen(runs(), [], ["delta_loss"]))
    made = dict(tables(comparison, in_full(comparison.joined)))
    title = "prose, neighbours: difference from the first run (~: may be none)"
    assert {"prose, neighbours", title} < set(made)
    console = Console(file=io.StringIO(), width=80)
    console.print(made[title])
    first, second, third = (line.split() for line in console.file.getvalue().splitlines())
    assert first == ["matcher", "arm", "delta", "loss"]
    assert second[:3] == ["unfolded", "matched", "+0.050"]
    assert third[2] in ("~+0.000", "~-0.000")
    lines = markdown(comparison).splitlines()
    assert f"## {title}".replace("~", "\\~") in lines
    assert sum(line.startswith("| unfolded | matched | +0.050 (0.0") for line in lines) == 2
    save_tables(comparison, tmp_path / "out")
    with (tmp_path / "out" / "comparison_differences.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = "run,matcher,less,span,arm,dataset,metric,value,low,high,pairs,differs"
    assert ",".join(rows[0]) == columns
    assert len(rows) == len(comparison.differences)
    assert {(row["run"], row["less"], row["differs"]) for row in rows} == {("1", "0", "True"), ("2", "0", "False")}


def test_without_differences_their_table_is_empty(tmp_path):
    run_folder(tmp_path / "runs" / "0")
    (joined,) = join(find_runs([tmp_path / "runs"])[0])
    save_tables(compared_with_first(chosen(joined, [], [])), tmp_path / "out")
    assert len((tmp_path / "out" / "comparison_differences.csv").read_text().splitlines()) == 1


def test_their_picture_has_a_line_for_each_run_but_the_first_about_zero(runs):
    comparison = compared_with_first(chosen(runs(), [], []))
    picture = by_run_difference(comparison, "delta_loss")
    assert picture.name == "delta_loss_by_run_difference"
    panels = picture.figure.axes
    labels = [tick.get_text() for tick in panels[0].get_yticklabels()]
    assert labels == ["matcher=unfolded", "matcher=cosine"]
    assert "less that of matcher=folded" in panels[0].get_xlabel()
    sure, unsure = (container.lines[0] for container in panels[0].containers)
    assert sure.get_xydata().tolist() == [[pytest.approx(0.05), 0.0]]
    assert unsure.get_xydata().tolist() == [[pytest.approx(0), 1.0]]
    assert (sure.get_alpha(), unsure.get_alpha() < 0.5) == (1, True)
    names = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert names == ["matched", "matched, may be equal"]
    assert len(picture.rows) == 2 * 2


def test_runs_without_differences_have_no_picture_of_them(tmp_path):
    for folder in ("0", "1"):
        run_folder(tmp_path / folder, text__seed=int(folder))
    (joined,) = join(find_runs([tmp_path])[0])
    comparison = compared_with_first(chosen(joined, [], []))
    assert [by_run_difference(comparison, metric) for metric in METRICS] == [None] * len(METRICS)
