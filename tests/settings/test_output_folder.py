"""What Hydra would leave on disk is looked at before it does."""

from pathlib import Path

import pytest

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
