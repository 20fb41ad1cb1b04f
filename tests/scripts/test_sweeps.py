"""Sweeps as a user runs them: many jobs, one comparison, one W&B group, one dashboard."""

import csv
import json

import pytest

from sae_match.report.runs import find_runs
from sae_match.report.tracking.layout import layout
from tests.report.made_up import METRICS
from tests.report.offline import about, history_names, only_run, summary_names
from tests.scripts.as_a_user import FAST, PLAIN, assert_refused, run

ARMS = "evaluation.arms=[matched,matched_unfolded]"
KINDS = ("by_run", "by_run_difference", "by_run_and_layer", "grid")
PICTURES = {f"{metric}_{kind}" for metric in METRICS for kind in KINDS}
MATCHERS = ("folded", "unfolded")
# What is asked of jobs is asked of every pair in the same way.
FEW = "evaluation.pairs=[[2,3],[3,4]]"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Folder of a sweep of four jobs, two at a time, and what it printed."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    folder = tmp_path_factory.mktemp("swept")
    told = ("-m", f"matcher={','.join(MATCHERS)}", "text.seed=0,1", "hydra/launcher=processes", "hydra.sweep.dir=sweep")
    short = (*FAST, ARMS, FEW, "evaluation.rotations=1", f"cache_dir={folder}/cache")
    done = run("validate.py", *told, *short, folder=folder)
    return folder / "sweep", done.stdout


def rows_of(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.slow
def test_a_sweep_of_four_jobs_ends_as_one_table_one_set_of_pictures_and_one_group(swept):
    folder, printed = swept
    assert "Comparison of 4 finished runs" in printed
    rows = rows_of(folder / "comparison" / "comparison.csv")
    assert {(row["run"], row["matcher"], row["text.seed"]) for row in rows} == {
        (str(2 * number + seed), matcher, str(seed)) for number, matcher in enumerate(MATCHERS) for seed in (0, 1)
    }
    own = rows_of(folder / "3" / "spans.csv")
    assert [row["value"] for row in rows if row["run"] == "3"] == [row["value"] for row in own]
    assert {file.stem for file in (folder / "comparison" / "figures").glob("*.png")} == PICTURES
    runs = {job: about(only_run(folder / job)) for job in ("0", "1", "2", "3", "comparison")}
    assert {told["run_group"] for told in runs.values()} == {"sweep"}
    assert [runs[job]["job_type"] for job in ("0", "comparison")] == ["validate", "report"]
    assert runs["3"]["display_name"] == "matcher=unfolded, text.seed=1"


@pytest.mark.slow
def test_every_key_of_the_dashboard_was_logged(swept):
    folder, _ = swept
    runs, _ = find_runs([folder / "0"])
    records = only_run(folder / "0")
    charted = history_names(records)
    panels = [panel for section in layout(runs) for panel in section.panels]
    assert {panel.kind for panel in panels} == {"lines", "bars", "picture", "table", "histogram", "settings", "note"}
    for panel in panels:
        assert set(panel.keys) <= (summary_names(records) if panel.kind == "bars" else charted), panel
    # And nothing drawn is left out of it.
    drawn = {name for name in charted if name.startswith("figures/") and name.count(".") == 0}
    assert drawn == {key for panel in panels if panel.kind == "picture" for key in panel.keys}


@pytest.mark.slow
def test_any_runs_are_compared_and_laid_out_on_demand(swept, tmp_path):
    folder, _ = swept
    asked = (f"runs=[{folder}/0,{folder}/2]", "arms=[matched,matched_unfolded]", "metrics=[jaccard]")
    done = run("report.py", *asked, "logger=none", "hydra.run.dir=out", folder=tmp_path)
    assert "Comparison of 2 finished runs" in done.stdout
    assert "matched_unfolded" in done.stdout
    assert {file.stem for file in (tmp_path / "out" / "figures").glob("*.png")} == {
        "jaccard_by_run",
        "jaccard_by_run_difference",
        "jaccard_by_run_and_layer",
    }
    done = run("dashboard.py", f"runs={folder}", "hydra.run.dir=laid", folder=tmp_path)
    sent = json.loads((tmp_path / "laid" / "workspace.json").read_text())
    names = [section["name"] for section in sent["spec"]["section"]["panelBankConfig"]["sections"]]
    assert names == ["overview", "folding", "ladder", "persistence", "pairs"]
    assert "W&B is offline" in done.stdout


@pytest.mark.slow
def test_bad_input_of_a_comparison_ends_in_one_clear_line(tmp_path):
    for told, message in (
        ((), "error: runs must be a folder or a list of folders such as [DIR1,DIR2], got None"),
        (("runs=nowhere",), "error: there is no folder nowhere"),
        (("runs=.",), "error: no finished validation in ."),
    ):
        assert_refused(run("report.py", *told, "logger=none", folder=tmp_path, check=False), message)
    assert_refused(run("dashboard.py", "runs=.", folder=tmp_path, check=False), "error: no finished validation in .")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", pytest.param("slurm_local", marks=pytest.mark.thorough)])
def test_an_experiment_may_be_a_sweep_and_a_job_that_fails_is_named(launcher, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "two.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {sae.layers.3.l0: '6,99'}}}\n"
    )
    told = ("--config-dir", "mine", "experiment=two", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep")
    done = run("validate.py", *told, *FAST, ARMS, FEW, PLAIN, "logger=offline", folder=tmp_path, check=False)
    assert_refused(done, "error: 1 of the sweep's jobs failed")
    assert "sweep/1: SAE of layer 3: no file layer_3/width_1k/average_l0_99" in done.stderr
    assert "Comparison of 1 finished run\n" in done.stdout
    assert "left out  sweep/1: SAE of layer 3" in done.stdout
    assert rows_of(tmp_path / "sweep" / "comparison" / "comparison.csv")
    told = about(only_run(tmp_path / "sweep" / "0"))
    assert (told["run_group"], told["display_name"]) == ("sweep", "sae.layers.3.l0=6")
