import pytest
from omegaconf import OmegaConf

from sae_match.report.sweeps import COMPARISON
from sae_match.settings.failed_jobs import FailedJobs
from sae_match.settings.sweeps import SweepComparison
from sae_match.version import write_provenance


def swept(folder):
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})


def test_a_users_file_of_the_same_name_is_neither_removed_nor_told(tmp_path):
    for name in ("0", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "error.txt").write_text("years of work")
    write_provenance(tmp_path / "0")
    FailedJobs().on_multirun_start(swept(tmp_path))
    assert [file.parent.name for file in tmp_path.rglob("error.txt")] == ["mine"]
    FailedJobs().on_multirun_end(swept(tmp_path))


def test_a_users_comparison_is_refused_before_any_job(tmp_path):
    (tmp_path / COMPARISON).mkdir()
    (tmp_path / COMPARISON / "comparison.md").write_text("mine")
    with pytest.raises(SystemExit, match=r"holds comparison.md.*hydra.sweep.dir=DIR"):
        SweepComparison().on_multirun_start(swept(tmp_path))
