"""How much memory a job of a sweep takes."""

import os

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from sae_match.errors import UserError
from sae_match.matching.solver import planning
from sae_match.settings.launching import job_memory, refuse_processes_of_a_worker


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


@pytest.mark.parametrize("launcher", [{"n_jobs": 2}, {"submitit_folder": "here"}])
def test_a_job_that_a_launcher_has_started_starts_no_processes(job, launcher):
    job(**launcher)
    with pytest.raises(
        UserError, match=r"trainer.strategy=ddp trainer.devices=2 .*hydra/launcher=basic, or trainer.strategy=auto"
    ):
        refuse_processes_of_a_worker("ddp", 2)
    with pytest.raises(UserError, match=r"trainer.devices=2 starts processes"):
        refuse_processes_of_a_worker("auto", 2)
    refuse_processes_of_a_worker("auto", 1)
    refuse_processes_of_a_worker("auto", "auto")


def test_jobs_one_after_another_and_tasks_of_slurm_are_processes_of_their_own(job):
    job()
    refuse_processes_of_a_worker("ddp", 2)
    job(submitit_folder="here", tasks_per_node=2)
    refuse_processes_of_a_worker("ddp", 2)
    job(mode=RunMode.RUN, n_jobs=2)
    refuse_processes_of_a_worker("ddp", 2)
