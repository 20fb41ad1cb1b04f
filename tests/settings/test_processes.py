"""The processes of a job: what they are told, what becomes of them, and what a job leaves behind; by real processes."""

import json
import os
import signal
import sys
from textwrap import dedent

import pytest

from sae_match.settings import processes
from sae_match.settings.processes import Helpers, one_job
from tests import programs

PROGRAM = """
import json, os, sys
from dataclasses import dataclass
from pathlib import Path
from hydra.core.hydra_config import HydraConfig
from sae_match.settings.entry import entry_point

@dataclass
class Small:
    number: int = 0

@entry_point(Path(__file__).with_name("small.yaml"), Small)
def main(settings):
    told = {"arguments": sys.argv[1:], "folder": str(HydraConfig.get().run.dir), "left": os.environ.get("LOCAL_RANK")}
    Path(f"told_{settings.number}.json").write_text(json.dumps(told))
    os.environ["LOCAL_RANK"] = "0"

main()
print("after", sys.argv[1:], os.environ.get("LOCAL_RANK"))
"""
# Writes what it was told, then does as it was told.
HELPER = """
import os, pickle, sys, time
sys.path[:] = pickle.load(sys.stdin.buffer)
program, (file, seconds, status) = pickle.load(sys.stdin.buffer)
with open(file + os.environ["LOCAL_RANK"], "w") as told:
    told.write(program)
time.sleep(seconds[int(os.environ["LOCAL_RANK"])])
sys.exit(status)
"""


@pytest.fixture
def program(tmp_path):
    settings = "defaults: [schema@_global_: small, _self_]\nhydra: {run: {dir: out}, sweep: {dir: swept}}\n"
    (tmp_path / "small.yaml").write_text(settings)
    (tmp_path / "small.py").write_text(dedent(PROGRAM))

    def run(*arguments):
        done = programs.run("small.py", *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return {int(file.stem[5:]): json.loads(file.read_text()) for file in tmp_path.glob("told_*.json")}, done.stdout

    return run


def test_a_job_of_a_sweep_leaves_command_line_config_and_environment_as_they_are(program):
    told, printed = program("-m", "number=1,2", "hydra.sweep.subdir=${number}")
    for number in (1, 2):
        assert told[number]["arguments"] == ["-m", "number=1,2", "hydra.sweep.subdir=${number}"]
        assert told[number]["folder"] == "out"
        # What the first job's trainer leaves in the environment is gone before the second begins.
        assert told[number]["left"] is None
    assert printed.strip().endswith("None")


@pytest.fixture
def helpers(monkeypatch, tmp_path):
    """Two processes that write a file, wait and end; a signal to this process is noted."""
    killed, kill = [], os.kill
    monkeypatch.setattr(processes, "_COMMAND", (sys.executable, "-c", HELPER))
    monkeypatch.setattr(processes, "_LONGEST_FAILURE", 0.5)
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what) if what[0] == os.getpid() else kill(*what))

    def start(seconds=(0, 0.0, 0.0), status=0):
        environments = [{**os.environ, "LOCAL_RANK": str(rank)} for rank in (1, 2)]
        return Helpers("validate", (str(tmp_path / "told_"), seconds, status), environments)

    start.killed = killed
    return start


def test_helpers_are_told_program_and_settings_and_waited_for(helpers, tmp_path):
    with one_job():
        running = helpers(seconds=(0, 0.0, 1.0)).running
    assert [helper.returncode for helper in running] == [0, 0]
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"told_1": "validate", "told_2": "validate"}
    assert not helpers.killed


def test_helpers_of_a_process_that_fails_are_ended(helpers):
    running = []

    def fail():
        with one_job():
            running.extend(helpers(seconds=(0, 60.0, 60.0)).running)
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fail()
    assert [helper.returncode for helper in running] == [-signal.SIGKILL] * 2
    assert not helpers.killed


def test_a_helper_that_fails_is_said_and_ends_all_of_the_job(helpers, caplog):
    with one_job():
        one = helpers(seconds=(0, 0.0, 60.0), status=3)
        one.running[1].wait(20)
        assert one.running[1].returncode == -signal.SIGKILL
        one.looking.join(20)
    assert "process 2 of 3 ended with status 3" in caplog.text
    # This process may wait for the one that is gone.
    assert helpers.killed == [(os.getpid(), signal.SIGKILL)]
