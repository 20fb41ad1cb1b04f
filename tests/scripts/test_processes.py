"""Validation on several processes, as a user runs it."""

import pytest

from sae_match.evaluation.statistics.results import Results
from tests.report.offline import about, only_run
from tests.scripts.as_a_user import run

SMALL = (
    "text.documents=3",
    "text.batch=1",
    "text.max_tokens=48",
    "text.min_tokens=16",
    "evaluation.fitting_documents=8",
    "evaluation.arms=[matched,matched_unfolded,linear_map,coactivation]",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
    "logger=offline",
)


def validate(folder, *overrides):
    # As many threads for each process, one: products in float32 depend on them in their last digits.
    return run("validate.py", *overrides, *SMALL, folder=folder).stdout


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_and_match_each_pair_once(tmp_path):
    one = validate(tmp_path, "hydra.run.dir=one", f"cache_dir={tmp_path}/a/matchings")
    two = validate(tmp_path, "hydra.run.dir=two", f"cache_dir={tmp_path}/b/matchings", "trainer=ddp")
    found = [Results.load(tmp_path / run / "results.csv") for run in ("one", "two")]
    assert len(found[0]) == len(found[1]) > 0
    for ours, theirs in zip(*found, strict=True):
        assert (ours.arm, ours.metric, ours.tokens, ours.documents) == (
            theirs.arm,
            theirs.metric,
            theirs.tokens,
            theirs.documents,
        )
        for end in ("value", "low", "high"):
            assert getattr(ours, end) == pytest.approx(getattr(theirs, end), abs=1e-9), ours
    for job in ("a", "b"):
        matchings = [file.name for file in (tmp_path / job / "matchings").iterdir()]
        assert len(matchings) == 14
        assert all(name.endswith(".safetensors") for name in matchings)
        assert not list((tmp_path / job / "validations").iterdir())
    assert one.count("clean loss") == two.count("clean loss") == 2
    assert len(list((tmp_path / "two").glob("wandb/offline-run-*"))) == 1


@pytest.mark.thorough
def test_a_sweep_on_top_of_several_processes_runs_each_job_once(tmp_path):
    printed = validate(
        tmp_path, "-m", "matcher=folded,unfolded", "trainer=ddp", "hydra.sweep.dir=swept", "logger.group=g"
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
