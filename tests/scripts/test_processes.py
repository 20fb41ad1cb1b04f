"""Validation on several processes, as a user runs it."""

import os
import signal
import time
from pathlib import Path

import pytest

from sae_match.evaluation.statistics.results import Results
from tests.report.offline import about, only_run
from tests.scripts.as_a_user import PLAIN, run, start

LONGEST = 300.0

SMALL = (
    "text.documents=3",
    "text.batch=1",
    "text.max_tokens=48",
    "text.min_tokens=16",
    "evaluation.fitting_documents=8",
    "evaluation.arms=[matched,matched_unfolded,linear_map,coactivation]",
    "evaluation.relations=true",
    "evaluation.causal.features=5",
    "trainer.accelerator=cpu",
    "evaluation.rotations=2",
    "trainer.progress=false",
    "logger=offline",
    PLAIN,
)
# Where fewer pairs tell as much: what is asked is asked of every pair in the same way.
FEW = "evaluation.pairs=[[2,3],[3,4]]"


def validate(folder, *overrides):
    # As many threads for each process, one: products in float32 depend on them in their last digits.
    return run("validate.py", *overrides, *SMALL, folder=folder).stdout


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.arm, ours.metric, ours.tokens, ours.documents) == (
            theirs.arm,
            theirs.metric,
            theirs.tokens,
            theirs.documents,
        )
        for end in ("value", "low", "high"):
            assert getattr(ours, end) == pytest.approx(getattr(theirs, end), abs=1e-9), ours


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_and_match_each_pair_once(tmp_path):
    one = validate(tmp_path, "hydra.run.dir=one", f"cache_dir={tmp_path}/a/matchings", FEW)
    two = validate(tmp_path, "hydra.run.dir=two", f"cache_dir={tmp_path}/b/matchings", FEW, "trainer=ddp")
    found = [Results.load(tmp_path / run / "results.csv") for run in ("one", "two")]
    assert len(found[0]) == len(found[1]) > 0
    assert_equal(*found)
    for job in ("a", "b"):
        matchings = [file.name for file in (tmp_path / job / "matchings").iterdir()]
        # Two pairs, folded and not; for each of the former two random targets, two matchings by parts, relations.
        assert len(matchings) == 4 + 2 * 5
        assert all(name.endswith(".safetensors") for name in matchings)
        assert not list((tmp_path / job / "validations").iterdir())
    assert one.count("clean loss") == two.count("clean loss") == 2
    assert len(list((tmp_path / "two").glob("wandb/offline-run-*"))) == 1


@pytest.mark.thorough
def test_a_sweep_on_top_of_several_processes_runs_each_job_once(tmp_path):
    printed = validate(
        tmp_path, "-m", "matcher=folded,unfolded", "trainer=ddp", "hydra.sweep.dir=swept", "logger.group=g", FEW
    )
    jobs = sorted(path.name for path in (tmp_path / "swept").iterdir() if path.is_dir())
    assert jobs == ["0", "1", "comparison"]
    scores = []
    for job in jobs[:2]:
        results = Results.load(tmp_path / "swept" / job / "results.csv")
        scores.append(results.value(source_layer=3, arm="matched", dataset="prose", metric="matching_score"))
        assert len(list((tmp_path / "swept" / job).glob("wandb/offline-run-*"))) == 1
    assert scores[0] != scores[1]
    assert printed.count("Comparison of 2 finished runs") == 1
    assert about(only_run(tmp_path / "swept" / "comparison"))["run_group"] == "g"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.thorough
@pytest.mark.parametrize(("processes", "batch"), [(3, 3), (8, 1)])
def test_more_processes_than_batches_or_pairs_give_the_numbers_of_one(tmp_path, processes, batch):
    """3 processes with 2 batches, and as many of fitting text; 8 with 6; 2 pairs."""
    # The fitting text has fewer batches than there are processes, and a linear map needs more than 128 tokens.
    told = (f"text.batch={batch}", "evaluation.fitting_documents=3", FEW, f"cache_dir={tmp_path}/cache/matchings")
    validate(tmp_path, "hydra.run.dir=one", *told)
    validate(tmp_path, "hydra.run.dir=many", "trainer=ddp", f"trainer.devices={processes}", *told)
    assert_equal(*(Results.load(tmp_path / run / "results.csv") for run in ("many", "one")))


@pytest.mark.thorough
@pytest.mark.parametrize("launcher", ["processes", "slurm_local"])
def test_jobs_that_a_launcher_has_started_start_processes_of_their_own(tmp_path, launcher):
    pytest.importorskip({"processes": "hydra_plugins.hydra_joblib_launcher"}.get(launcher, "submitit"))
    told = ("text.seed=0,1", f"hydra/launcher={launcher}", "trainer=ddp", "hydra.sweep.dir=swept", FEW)
    validate(tmp_path, "-m", *told, f"cache_dir={tmp_path}/cache/matchings")
    validate(tmp_path, "text.seed=1", "hydra.run.dir=one", FEW, f"cache_dir={tmp_path}/cache/matchings")
    assert_equal(*(Results.load(tmp_path / run / "results.csv") for run in ("swept/1", "one")))
    assert (tmp_path / "swept" / "0" / "results.csv").is_file()


# Enough text for a process to be lost in the middle of any pass.
LONG = (
    *(told for told in SMALL if told.split("=")[0] not in ("text.documents", "evaluation.fitting_documents")),
    *("text.documents=40", "evaluation.fitting_documents=60", FEW),
)


@pytest.mark.thorough
@pytest.mark.parametrize("part", ["fitting", "surveying", "validating"])
def test_a_process_that_is_lost_in_any_pass_ends_the_others_and_the_same_command_goes_on(tmp_path, part):
    told = ("trainer=ddp", f"cache_dir={tmp_path}/cache/matchings", *LONG)
    running = start("validate.py", "hydra.run.dir=lost", *told, folder=tmp_path)
    deadline = time.monotonic() + LONGEST
    # One of each process.
    while len(list((tmp_path / "cache" / "validations").glob(f"*.{part}.safetensors"))) < len(("first", "helper")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # W&B has one of its own.
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    (helper,) = (int(child) for child in children if "helping" in Path(f"/proc/{child}/cmdline").read_text())
    os.kill(helper, signal.SIGKILL)
    lost = time.monotonic()
    assert running.wait(LONGEST) != 0
    assert time.monotonic() - lost < 60
    done = run("validate.py", "hydra.run.dir=again", *told, folder=tmp_path)
    assert "going on after" in done.stdout
    # One process gives the numbers of two, sooner.
    run("validate.py", "hydra.run.dir=whole", *told[1:], folder=tmp_path)
    assert_equal(*(Results.load(tmp_path / name / "results.csv") for name in ("again", "whole")))
