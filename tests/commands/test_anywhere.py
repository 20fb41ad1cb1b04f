"""Programs on a terminal of any encoding, and what they say of a config that is only shown."""

import subprocess
import sys

import pytest

from sae_match.commands import PROGRAMS
from tests import programs
from tests.conftest import ROOT


def shown(name, *told, folder):
    return programs.run(ROOT / "scripts" / f"{name}.py", "--cfg", "job", "--resolve", *told, folder=folder)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_config_can_be_shown_with_all_that_it_stands_for(name, tmp_path):
    done = shown(name, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"output_dir: outputs/{name}/" in done.stdout
    assert "${" not in done.stdout


def test_what_cannot_be_resolved_is_one_line(tmp_path):
    done = shown("match", "cache_dir=${oc.env:NO_SUCH_VARIABLE}", folder=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "NO_SUCH_VARIABLE" in line


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_program_runs_whatever_its_terminal_can_write(encoding, tmp_path):
    folder = tmp_path / "\u00e9\u4e2d [/b]"
    folder.mkdir(parents=True)

    def run(*words):
        command = [sys.executable, "-m", "sae_match", *words]
        environment = programs.quiet_environment(PYTHONIOENCODING=encoding)
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding=encoding, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    assert "COMMAND" in run("--help")
    said = run("match", f"cache_dir={tmp_path}/cache/matchings", "pairs=[[3,4]]", "hydra.run.dir=out")
    assert "3 -> 4" in said
    assert (folder / "out" / "matchings.csv").is_file()


@pytest.mark.parametrize(("name", "text"), [("report/thesis.tex", "years"), ("results.csv", "mine")])
def test_what_a_user_has_is_refused_before_any_work_and_leaves_no_mark(name, text, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    for _ in range(2):
        done = programs.run(ROOT / "scripts" / "validate.py", "output_dir=.", "logger=none", folder=tmp_path)
        assert done.returncode == 1
        assert "output_dir=DIR" in done.stderr.splitlines()[-1]
    assert (tmp_path / name).read_text() == text
    assert not (tmp_path / "provenance.json").exists()
