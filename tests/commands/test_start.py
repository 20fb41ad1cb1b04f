"""How a program starts: nothing heavy is imported until its settings are composed and checked."""

import gc
import subprocess
import sys
from textwrap import dedent

import pytest

from sae_match import commands
from sae_match.commands import PROGRAMS
from tests.conftest import HEAVY, ROOT

# What each refuses, and the line that says so.
REFUSED = {
    "validate": ("evaluation.arms=[nonsense]", "unknown arm 'nonsense'"),
    "match": ("matcher.solver=nonsense", "no solver 'nonsense'; use 'dense', 'sparse' or 'auto'"),
    "train": ("training.steps=0", "training.steps must be positive, got 0"),
    "judge": ("judge.kind=nonsense", "judge.kind must be one of token_overlap, embedding, openai, got 'nonsense'"),
    "report": ("runs=3", "runs must be a folder or a list of folders such as [DIR1,DIR2], got 3"),
    "dashboard": ("logger.mode=nonsense", "logger.mode must be one of auto, online, offline, got 'nonsense'"),
    "benchmark": ("seed=nonsense", "nonsense"),
    "cache": ("older_than=-1", "older_than must be a number of days, at least 0, got -1"),
}
RUN = """
import atexit, runpy, sys

def brought_in():
    print("imported:", *sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)

atexit.register(brought_in)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def started(name, *told, folder):
    """A program that ran to its end, and the heavy packages that it imported."""
    command = [sys.executable, "-c", dedent(RUN), str(ROOT / "scripts" / f"{name}.py"), *told]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("imported:"))
    return done, set(HEAVY) & set(line.split())


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_imports_nothing_heavy(name, tmp_path):
    done, heavy = started(name, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert f"scripts/{name}.py" in done.stdout
    assert heavy == set()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_refused_value_imports_nothing_heavy(name, tmp_path):
    told, message = REFUSED[name]
    needed = {"train": ["destination=there"], "dashboard": ["runs=here"]}
    done, heavy = started(name, *needed.get(name, []), told, folder=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert heavy == set()


def test_a_check_imports_nothing_that_it_does_not_need(tmp_path):
    done, heavy = started("validate", "hydra.run.dir=out", "check=true", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "everything is there" in done.stdout
    # The first documents are read and their tokens counted; the package of the prose brings in pandas.
    of_reading = {"pandas", "pyarrow", "tokenizers"}
    assert heavy == {"huggingface_hub", "numpy", "safetensors", "torch"} | of_reading


def test_only_what_is_imported_at_the_start_is_kept_from_the_collector():
    before = gc.get_freeze_count()
    assert commands._body("tests.commands.test_start") is sys.modules["tests.commands.test_start"]
    assert gc.get_freeze_count() == before
    assert gc.isenabled()


def test_the_check_can_fail(tmp_path):
    done, heavy = started("match", "hydra.run.dir=out", "pairs=[[0,9]]", folder=tmp_path)
    assert "error: no SAE for layer 9" in done.stderr
    assert "torch" in heavy
