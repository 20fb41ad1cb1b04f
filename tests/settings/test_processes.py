"""A trainer's processes: what a job of a sweep tells them, by real programs."""

import json
from textwrap import dedent

import pytest

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


def test_a_job_of_a_sweep_is_told_as_a_job_of_its_own(program, tmp_path):
    told, printed = program("-m", "number=1,2", "hydra.sweep.subdir=${number}", "--config-dir", str(tmp_path))
    for number in (1, 2):
        arguments = told[number]["arguments"]
        assert arguments[:2] == ["--config-dir", str(tmp_path)]
        assert f"number={number}" in arguments
        assert "-m" not in arguments
        assert not any("MULTIRUN" in argument for argument in arguments)
        assert told[number]["folder"] == str(tmp_path / "swept" / str(number))
        # What the first job's trainer leaves in the environment is gone before the second begins.
        assert told[number]["left"] is None
    assert printed.strip().endswith("None")
    assert "number=1,2" in printed


def test_a_single_run_keeps_its_command(program):
    told, _ = program("number=5")
    assert told[5]["arguments"] == ["number=5"]
    assert told[5]["folder"] == "out"
