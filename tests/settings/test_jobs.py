"""What jobs are called and what becomes of those that fail, by real programs."""

import json
from textwrap import dedent

import pytest

from sae_match.errors import UserError
from sae_match.settings.jobs import job_fact
from tests import programs

PROGRAM = """
import json
from dataclasses import dataclass
from pathlib import Path
from sae_match.errors import UserError, stopped_while
from sae_match.settings.entry import entry_point

@dataclass
class Small:
    number: int = 0
    letter: str = "a"
    cache_dir: str = ""
    group: str | None = None
    name: str | None = None
    type: str | None = None

@entry_point(Path(__file__).with_name("small.yaml"), Small)
def main(settings):
    facts = [settings.group, settings.name, settings.type]
    Path(f"facts_{settings.number}_{settings.letter}.json").write_text(json.dumps(facts))
    if settings.number == 2:
        raise UserError("two is too much")
    if settings.number == 3:
        raise RuntimeError("a bug\\nof two lines")
    if settings.number == 4:
        raise SystemExit(7)
    if settings.number == 5:
        raise SystemExit(0)
    with stopped_while(lambda: "counting, 6 of 9 done"):
        if settings.number == 6:
            raise KeyboardInterrupt
        if settings.number == 7:
            raise SystemExit(143)

main()
"""
CONFIG = """
defaults: [schema@_global_: small, _self_]
group: ${job:group}
name: ${job:name}
type: ${job:type}
hydra:
  run: {dir: multirun/out}
  sweep: {dir: multirun/swept}
  job: {name: small}
  callbacks:
    failed_jobs: {_target_: sae_match.settings.failed_jobs.FailedJobs}
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "small.yaml").write_text(CONFIG)
    (tmp_path / "small.py").write_text(dedent(PROGRAM))

    def run(*arguments):
        done = programs.run("small.py", *arguments, folder=tmp_path)
        told = {file.stem[6:]: json.loads(file.read_text()) for file in tmp_path.glob("facts_*.json")}
        return told, done

    return run


def test_jobs_share_the_group_of_their_sweep_and_are_called_by_what_it_varies(program):
    told, done = program("-m", "number=0,1", "letter=b", "cache_dir=there")
    assert done.returncode == 0
    assert told == {f"{number}_b": ["swept", f"number={number}", "small"] for number in (0, 1)}


def test_what_a_config_varies_is_part_of_the_name(program, tmp_path):
    with (tmp_path / "small.yaml").open("a") as config:
        config.write("  mode: MULTIRUN\n  sweeper: {params: {letter: 'a,b'}}\n")
    told, _ = program("number=1")
    assert told == {f"1_{letter}": ["swept", f"letter={letter}", "small"] for letter in "ab"}


def test_a_sweep_that_varies_nothing_and_a_run_are_called_by_what_they_are_told(program):
    told, _ = program("-m", "letter=c", "cache_dir=there")
    assert told == {"0_c": ["swept", "letter=c", "small"]}
    told, _ = program("number=1", "cache_dir=there")
    assert told["1_a"] == [None, "number=1", "small"]
    told, _ = program()
    assert told["0_a"] == [None, None, "small"]


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_job_that_fails_does_not_keep_the_others_from_running(program, tmp_path, launcher):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    told, done = program("-m", "number=0,2,3,4,5,1", f"hydra/launcher={launcher}")
    assert set(told) == {f"{number}_a" for number in range(6)}
    assert done.returncode == 1
    reasons = {"1": "two is too much", "2": "RuntimeError: a bug", "3": "ended with status 7"}
    assert "error: 3 of the sweep's jobs failed" in done.stderr
    for job, reason in reasons.items():
        assert f"swept/{job}: {reason}" in done.stderr
        assert (tmp_path / "multirun" / "swept" / job / "error.txt").read_text().startswith(reason)
    for job in "045":
        assert not (tmp_path / "multirun" / "swept" / job / "error.txt").exists()
    # The traceback of what is no bad input is logged.
    assert "raise RuntimeError" in done.stdout + (tmp_path / "multirun" / "swept" / "2" / "small.log").read_text()


def test_a_later_sweep_in_the_same_folder_starts_anew(program):
    _, done = program("-m", "number=2,1")
    assert done.returncode == 1
    _, done = program("-m", "number=0")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupted_job_ends_the_sweep(program):
    told, done = program("-m", "number=6,1")
    assert done.returncode == 130
    assert set(told) == {"6_a"}


def test_a_single_run_fails_at_once(program, tmp_path):
    _, done = program("number=2")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: two is too much"
    assert not list(tmp_path.rglob("error.txt"))


def test_what_ends_a_run_as_an_error_stands_in_its_log_file_too(program, tmp_path):
    log = tmp_path / "multirun" / "out" / "small.log"
    program("number=2")
    assert log.read_text().endswith("[ERROR] - error: two is too much\n")
    _, done = program("number=3")
    assert "Traceback" in log.read_text()
    assert log.read_text().endswith("RuntimeError: a bug\nof two lines\n")
    # On the terminal it is said once.
    assert done.stderr.count("RuntimeError: a bug") == 1


@pytest.mark.parametrize(("number", "status", "how"), [(6, 130, "interrupted"), (7, 143, "told to end")])
def test_a_run_that_is_ended_says_where_it_was_and_how_it_goes_on(program, tmp_path, number, status, how):
    _, done = program(f"number={number}")
    assert done.returncode == status
    line = f"{how} while counting, 6 of 9 done; the same command goes on from what is finished"
    assert line in done.stdout + done.stderr
    assert line in (tmp_path / "multirun" / "out" / "small.log").read_text()


def test_outside_of_a_program_there_is_nothing_to_say():
    assert [job_fact(what) for what in ("group", "name", "type")] == [None] * 3
    with pytest.raises(UserError, match=r"\$\{job:colour\}: there are group, name, type"):
        job_fact("colour")
