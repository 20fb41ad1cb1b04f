"""How much memory a job of a sweep takes."""

import os

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from sae_match.errors import UserError
from sae_match.matching.solver import planning
from sae_match.settings.configs import config_folder
from sae_match.settings.entry import register
from sae_match.settings.launching import job_gpus, job_memory
from sae_match.settings.schema import ValidateSettings


@pytest.fixture
def job(monkeypatch):
    """Be a job that a launcher started, on a machine with 12 GB free."""
    monkeypatch.setattr(planning, "free_memory", lambda _: 12 * 2**30)

    def started(mode=RunMode.MULTIRUN, **launcher):
        config = OmegaConf.create({"mode": mode, "launcher": launcher})
        monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
        monkeypatch.setattr(HydraConfig, "get", lambda: config)

    return started


def test_a_run_of_its_own_leaves_the_budget_to_the_solver(job):
    assert job_memory("cpu") is None
    job(mode=RunMode.RUN, n_jobs=4)
    assert job_memory("cpu") is None
    job()
    assert job_memory("cpu") is None
    job(n_jobs=1)
    assert job_memory("cpu") is None


@pytest.mark.parametrize(("n_jobs", "expected"), [(2, 4.0), (3, 3.0)])
def test_jobs_side_by_side_divide_what_is_free(job, n_jobs, expected):
    job(n_jobs=n_jobs)
    assert job_memory("cpu") == expected


@pytest.mark.parametrize("launcher", [{"n_jobs": -1}, {"submitit_folder": "here", "mem_gb": None}])
def test_where_a_launcher_does_not_say_every_core_may_have_a_job(job, launcher, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    job(**launcher)
    assert job_memory("cpu") == 2.0


def test_a_job_that_reserved_memory_takes_a_part_of_it(job):
    job(submitit_folder="here", mem_gb=10)
    assert job_memory("cpu") == pytest.approx(6.0)


def test_an_unknown_device_is_refused(job):
    job(n_jobs=2)
    with pytest.raises(UserError, match=r"matcher\.device=abacus"):
        job_memory("abacus")


@pytest.mark.parametrize(
    ("accelerator", "devices", "expected"),
    [("gpu", 4, 4), ("cuda", "2", 2), ("gpu", [0, 3], 2), ("gpu", "auto", None), ("cpu", 4, None), ("auto", 1, None)],
)
def test_a_job_asks_for_the_gpus_that_its_trainer_is_told_to_use(accelerator, devices, expected):
    assert job_gpus(accelerator, devices) == expected


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [(["trainer=gpu", "trainer.devices=2"], 2), (["trainer=cpu"], None), ([], None)],
)
def test_the_slurm_launcher_asks_for_them(overrides, expected):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        register(validate=ValidateSettings)
        told = ["hydra/launcher=slurm", "hydra.mode=MULTIRUN", *overrides]
        config = compose("validate", overrides=told, return_hydra_config=True)
    assert config.hydra.launcher.gpus_per_node == expected
