"""What Hydra would leave on disk is looked at before it does."""

import re
import threading
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sae_match.settings.output_folder import OutputFolderCheck
from tests import programs

SCRIPTS = Path(__file__).parents[2] / "scripts"
SECRET = "hunter2hunter2"


def refused(tmp_path, *arguments, script="judge.py", folder="out"):
    """What a program that is to refuse its command line says, after nothing of the secret was found anywhere."""
    place = [f"hydra.run.dir={tmp_path / folder}", f"hydra.sweep.dir={tmp_path / folder}"]
    done = programs.run(SCRIPTS / script, *arguments, *place, folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr + done.stdout
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([f"judge.base_url=https://me:{SECRET}@host/v1"], "judge.base_url holds a name or a password"),
        ([f"judge.base_url=https://{SECRET}@host/v1"], "judge.base_url holds a name or a password"),
        ([f"descriptions.api=https://me:{SECRET}@host/v1"], "descriptions.api holds a name or a password"),
        ([f"+judge.api_key={SECRET}"], "judge.api_key would be kept with the results"),
        ([f"judge.key_variable=sk-{SECRET}"], "judge.key_variable must be the name of an environment variable"),
        ([f"+hydra.job.env_set.OPENAI_API_KEY={SECRET}"], "hydra.job.env_set.OPENAI_API_KEY would be kept"),
        (["-m", f"judge.base_url=https://a/v1,https://me:{SECRET}@host/v1"], "judge.base_url holds a name"),
        (["-m", f"+judge.password={SECRET},2"], "judge.password would be kept with the results"),
        ([f"judge.base_url=https://me:{SECRET}@host/v1,]"], "cannot read judge.base_url=https://[key]@host"),
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_is_nowhere_afterwards(tmp_path, arguments, said):
    assert refused(tmp_path, *arguments, "judge=openai", "judge.model=m").startswith(f"error: {said}")


def test_a_secret_in_a_config_of_the_users_is_refused_as_well(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    secret = f"# @package _global_\njudge: {{base_url: 'https://me:{SECRET}@host/v1'}}\n"
    (tmp_path / "mine" / "experiment" / "ours.yaml").write_text(secret)
    place = ["--config-dir", "mine", "judge=openai", "judge.model=m", "experiment=ours", "hydra.run.dir=out"]
    done = programs.run(SCRIPTS / "judge.py", *place, folder=tmp_path)
    assert "error: judge.base_url holds a name or a password" in done.stderr
    assert not list(tmp_path.rglob("config.yaml"))


def test_names_of_variables_and_addresses_without_users_pass(tmp_path):
    place = [
        f"hydra.run.dir={tmp_path / 'out'}",
        "judge.key_variable=MY_KEY",
        "judge.base_url=http://127.0.0.1:9/a@b/v1",
    ]
    done = programs.run(SCRIPTS / "judge.py", "judge=openai", *place, folder=tmp_path)
    # Nobody is there: it has come as far as asking.
    assert "error: cannot reach http://127.0.0.1:9/a@b/v1" in done.stderr


def started(folder, kind, *overrides):
    """What Hydra's config says of the folder after the check has made it."""
    with initialize_config_dir(str(folder), version_base="1.3"):
        config = compose("run", [f"hydra.{kind}.dir={folder}/${{now:%Y}}", *overrides], return_hydra_config=True)
    check = OutputFolderCheck()
    {"run": check.on_run_start, "sweep": check.on_multirun_start}[kind](config=config)
    return config


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    (tmp_path / "run.yaml").write_text("text: 1\n")
    return tmp_path


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_runs_of_the_same_second_have_a_folder_each(folder, kind):
    (first, second, third) = (started(folder, kind).hydra for _ in range(3))
    assert re.fullmatch(r"[0-9]{4}", Path(first[kind].dir).name)
    assert [second[kind].dir, third[kind].dir] == [f"{first[kind].dir}_2", f"{first[kind].dir}_3"]
    assert all(Path(one[kind].dir).is_dir() for one in (first, second, third))
    # So that the jobs of a sweep are told of it.
    assert second.overrides.hydra[-1] == f"hydra.{kind}.dir='{first[kind].dir}_2'"


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_processes_of_one_run_share_its_folder(folder, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    assert started(folder, "run").hydra.run.dir == started(folder, "run").hydra.run.dir


def test_a_folder_that_is_called_by_its_user_is_taken_again(folder):
    chosen = f"hydra.run.dir={folder}/mine"
    assert started(folder, "run", chosen).hydra.run.dir == started(folder, "run", chosen).hydra.run.dir


def test_two_programs_at_once_write_to_a_folder_each(tmp_path):
    told = ["hydra.run.dir=there/${now:%Y}", "rotations=0", "cache_dir=cache", "pairs=[[0,1]]"]
    threads = [
        threading.Thread(target=programs.run, args=(SCRIPTS / "match.py", *told), kwargs={"folder": tmp_path})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = list((tmp_path / "there").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert (run / "matchings.csv").is_file()
        assert OmegaConf.load(run / ".hydra" / "hydra.yaml").hydra.runtime.output_dir == str(run)
