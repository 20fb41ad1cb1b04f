"""Programs that are disturbed; `python -m tests.faults.killing NUMBER` tries so many faults, and says what was lost."""

import random
import time

import pytest
from rich.console import Console

from tests import programs
from tests.faults.disturbances import damage, files_below, prefixed
from tests.faults.killing import faults, try_all
from tests.faults.subjects import SUBJECTS, places
from tests.faults.tables import Tried, summary, table
from tests.faults.undisturbed import Undisturbed


def test_faults_are_spread_over_the_whole_life_of_a_run():
    every = list(faults(0, 30))
    assert every == list(faults(0, 30)) != list(faults(1, 30))
    assert {name for name, _ in every} == {"SIGKILL", "SIGTERM", "SIGINT"}
    shares = sorted(share for _, share in every)
    assert all(at / 30 <= share < (at + 1) / 30 for at, share in enumerate(shares))


def test_what_was_lost_is_in_the_table(capsys):
    rows = [
        Tried("match", "SIGKILL", -9, 0.1, 0.05),
        Tried("match", "SIGKILL", -9, 0.3, 0.02, "results.csv differs"),
    ]
    Console(width=200).print(table(rows))
    said = " ".join(capsys.readouterr().out.split())
    assert "| match | SIGKILL | 2 | 1 | 0.3 s | 0.1 s | results.csv differs (1 times) |" in said
    assert summary(rows) == "2 faults tried, 1 survived; lost: results.csv differs (1 times)"
    assert summary(rows[:1]) == "1 faults tried, 1 survived; lost: nothing"


def test_damage_is_damage(tmp_path):
    generator, kinds = random.Random(0), set()
    for number in range(40):
        file = tmp_path / f"{number}.bin"
        file.write_bytes(bytes(100))
        kinds.add(damage(generator, file).split()[1])
        assert not file.exists() or file.read_bytes() != bytes(100)
    assert kinds == {"flipped", "cut", "emptied", "removed"}
    (tmp_path / "a.lock").write_bytes(b"")
    assert tmp_path / "a.lock" not in files_below([tmp_path])


def test_a_program_without_rights_cannot_write_where_modes_forbid_it(tmp_path):
    (tmp_path / "script.py").write_text("import sys\nopen(sys.argv[1], 'w')\n")
    (tmp_path / "closed").mkdir(mode=0o555)
    told = prefixed("without_rights()", tmp_path / "script.py", [str(tmp_path / "closed" / "file")])
    assert "PermissionError" in programs.run(*told).stderr
    assert programs.run(*prefixed("without_rights()", tmp_path / "script.py", [str(tmp_path / "file")])).returncode == 0


def test_a_clock_jumps_in_the_program_alone(tmp_path):
    (tmp_path / "script.py").write_text("import time\nprint(time.time())\n")
    said = programs.run(*prefixed("with_a_clock_that_jumps(0.0, 1e6)", tmp_path / "script.py", []))
    assert float(said.stdout) == pytest.approx(time.time() + 1e6, abs=60)


@pytest.mark.slow
def test_a_matching_that_is_disturbed_loses_nothing(tmp_path):
    tried = list(try_all(3, tmp_path, only="match"))
    assert len(tried) == 3
    assert [one for one in tried if one.lost] == []


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize(("seed", "name"), list(enumerate(SUBJECTS)))
def test_a_program_that_is_disturbed_loses_nothing(tmp_path, seed, name):
    tried = list(try_all(6, tmp_path, seed=seed, only=name))
    assert len(tried) == 6
    assert [one for one in tried if one.lost] == []
    # Seconds of processors: a machine that is busy with something else makes everything slow.
    assert max(one.computed for one in tried) < 2


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("name", SUBJECTS)
def test_nothing_is_left_of_files_that_were_being_written(tmp_path, name):
    for place in ("given", "whole", "again"):
        (tmp_path / place).mkdir()
    with places(tmp_path / "given", [name]) as given:
        tried = Undisturbed(name, tmp_path / "whole", given).killed_at_every_file(tmp_path / "again")
    assert tried.lost == ""


@pytest.mark.slow
@pytest.mark.thorough
def test_a_run_that_ends_differently_is_found(tmp_path):
    """The harness itself: what an undisturbed run leaves is compared, so a changed result shows."""
    for name in ("given", "whole", "again"):
        (tmp_path / name).mkdir()
    with places(tmp_path / "given", ["match"]) as given:
        whole = Undisturbed("match", tmp_path / "whole", given)
        whole.results = {**whole.results, "L00-L01.safetensors": []}
        assert whole._again(tmp_path / "again") == "L00-L01.safetensors differs"
