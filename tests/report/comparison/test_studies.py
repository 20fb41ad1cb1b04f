"""Runs of the same settings that have measured different arms or distances are one study."""

import csv

import pytest

from sae_match.report.comparison.comparison import chosen, save_tables
from sae_match.report.comparison.joining import join
from sae_match.report.runs import find_runs
from tests.report.made_up import METRICS
from tests.report.run_folders import NEIGHBOURS, changed, run_folder

ONE = (
    "{} have the same settings and other arms or distances: one run of them all, in which every number is once"
).format


def joined(folder):
    (one,) = join(find_runs([folder])[0])
    return one


def arms_of(run):
    return list(dict.fromkeys(row.arm for row in run.spans))


def test_other_arms_of_the_same_settings_are_one_run_with_every_number_once(tmp_path):
    run_folder(tmp_path / "0", arms=["matched", "random"])
    run_folder(tmp_path / "1", arms=["matched", "nearest"])
    one = joined(tmp_path)
    (run,) = one.runs
    assert arms_of(run) == ["matched", "random", "nearest"]
    keys = [(row.source_layer, row.arm, row.dataset, row.metric) for row in run.results]
    assert len(keys) == len(set(keys)) == 2 + 3 * len(NEIGHBOURS) * 2 * len(METRICS)
    assert (one.names, one.labels) == (["0 + 1"], ["0 + 1"])
    assert one.notes == [ONE("0 and 1")]


def test_studies_of_several_settings_are_told_apart_by_them(tmp_path):
    jobs = [(matcher, arm) for matcher in ("folded", "unfolded") for arm in ("matched", "nearest", "random")]
    for job, (matcher, arm) in enumerate(jobs):
        run_folder(tmp_path / str(job), matcher, arms=[arm])
    one = joined(tmp_path)
    assert one.labels == ["matcher=folded", "matcher=unfolded"]
    assert one.names == ["0 + 1 + 2", "3 + 4 + 5"]
    assert [arms_of(run) for run in one.runs] == [["matched", "nearest", "random"]] * 2
    assert one.differing == {"matcher": ["folded", "unfolded"]}
    assert one.notes == [ONE("0, 1 and 2"), ONE("3, 4 and 5")]


def test_other_distances_are_parts_of_a_study_too(tmp_path):
    run_folder(tmp_path / "0")
    run_folder(tmp_path / "1", pairs=[(0, 2), (1, 3)], evaluation__spans=[2])
    (run,) = joined(tmp_path).runs
    assert {row.span for row in run.spans} == {1, 2}


@pytest.mark.parametrize(("by", "studies"), [(1e-5, 1), (0.01, 2)])
def test_runs_that_found_something_else_for_the_same_arm_are_kept_apart(tmp_path, by, studies):
    run_folder(tmp_path / "0", arms=["matched", "random"])
    changed(run_folder(tmp_path / "1", arms=["matched", "nearest"]), "matched", by)
    one = joined(tmp_path)
    assert len(one.runs) == studies
    if studies > 1:
        assert one.notes == ["2 runs have the same settings, each is kept: 0, 1"]


def test_a_repetition_is_no_part_of_what_it_repeats(tmp_path):
    for job, arms in enumerate((["matched"], ["nearest"], ["matched"])):
        run_folder(tmp_path / str(job), arms=arms)
    one = joined(tmp_path)
    assert one.names == ["0 + 1", "2"]
    assert one.notes == [ONE("0 and 1"), "2 runs have the same settings, each is kept: 0 + 1, 2"]


def test_every_arm_of_a_single_study_is_shown_and_kept(tmp_path):
    run_folder(tmp_path / "runs" / "0", arms=["nearest"])
    run_folder(tmp_path / "runs" / "1", arms=["matched"])
    comparison = chosen(joined(tmp_path / "runs"), [], [])
    assert comparison.arms == ["matched", "nearest"]
    save_tables(comparison, tmp_path / "out")
    with (tmp_path / "out" / "comparison.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {(row["run"], row["arm"]) for row in rows} == {("0 + 1", "nearest"), ("0 + 1", "matched")}
    assert len(rows) == 2 * 2 * len(METRICS)


def test_a_run_without_matched_is_not_left_out_in_silence(tmp_path):
    run_folder(tmp_path / "0", "folded", arms=["matched", "nearest"])
    run_folder(tmp_path / "1", "unfolded", arms=["nearest", "random"])
    assert chosen(joined(tmp_path), [], []).arms == ["nearest"]
    run_folder(tmp_path / "2", "cosine", arms=["random"])
    assert chosen(joined(tmp_path), [], []).arms == ["matched", "nearest", "random"]
    asked = chosen(joined(tmp_path), ["matched", "nearest"], [])
    assert asked.joined.notes == ["matcher=cosine has none of the arms that are shown; it has random"]
