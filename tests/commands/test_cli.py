"""The command `sae-match`: as the scripts, under one name."""

import csv

import pytest

import sae_match
from sae_match.commands import PROGRAMS
from tests import programs
from tests.conftest import ROOT


def command(*told, folder, of=("-m", "sae_match"), fresh=False):
    return programs.run(*of, *told, folder=folder, environment=programs.quiet_environment(), fresh=fresh)


@pytest.mark.parametrize("told", [(), ("--help",), ("-h",)])
def test_it_lists_its_commands(told, tmp_path):
    done = command(*told, folder=tmp_path)
    assert done.returncode == 0
    named = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert named[: len(PROGRAMS)] == list(PROGRAMS)


def test_it_says_its_version(tmp_path):
    assert command("--version", folder=tmp_path).stdout == f"sae-match {sae_match.__version__}\n"


@pytest.mark.parametrize("name", ["valdate", "-m", "matcher=folded", ""])
def test_a_command_that_there_is_not_is_said_in_one_line(name, tmp_path):
    done = command(name, folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: no command {name!r}; there are {', '.join(PROGRAMS)} (sae-match --help)"
    ]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_has_a_script_that_says_the_same(name, tmp_path):
    script = ROOT / "scripts" / f"{name}.py"
    ours, theirs = command(name, "--help", folder=tmp_path), command("--help", folder=tmp_path, of=(str(script),))
    assert ours.returncode == theirs.returncode == 0
    assert ours.stdout == theirs.stdout


def test_a_refused_value_ends_as_in_the_script(tmp_path):
    ours = command("match", "pairs=3", folder=tmp_path, fresh=True)
    theirs = command("pairs=3", folder=tmp_path, of=(str(ROOT / "scripts" / "match.py"),))
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert ours.returncode == 1
    assert ours.stderr.splitlines() == ["error: pairs must be adjacent, all or a list such as [[0,1],[2,5]], got 3"]


def pairs_in(folder):
    with (folder / "matchings.csv").open(newline="") as lines:
        return [(int(row["source_layer"]), int(row["target_layer"])) for row in csv.DictReader(lines)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "plugin"),
    [
        (None, None),
        ("processes", "hydra_plugins.hydra_joblib_launcher"),
        pytest.param("slurm_local", "hydra_plugins.hydra_submitit_launcher", marks=pytest.mark.thorough),
    ],
)
def test_a_sweep_goes_through_every_launcher(launcher, plugin, tmp_path):
    if plugin:
        pytest.importorskip(plugin)
    told = ["-m", "shards=2", "shard=0,1", "pairs=[[0,1],[1,2]]", "rotations=1"]
    told += ["hydra.sweep.dir=sweep", "cache_dir=cache"]
    done = command("match", *told, *([f"hydra/launcher={launcher}"] if launcher else []), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [pairs_in(tmp_path / "sweep" / str(job)) for job in (0, 1)] == [[(0, 1)], [(1, 2)]]


@pytest.mark.thorough
def test_two_processes_repeat_the_whole_command(tmp_path):
    told = [
        *("text.documents=2", "text.batch=1", "text.max_tokens=32", "text.min_tokens=16"),
        *("evaluation.arms=[matched]", "logger=none", "report.contexts=0", "report.pictures=false", "cache_dir=cache"),
        *("evaluation.pairs=[[2,3],[3,4]]", "evaluation.rotations=1"),
        *("trainer=ddp", "trainer.accelerator=cpu", "trainer.progress=false"),
    ]
    single = command("validate", *told, "hydra.run.dir=single", folder=tmp_path)
    assert single.returncode == 0, single.stderr
    assert (tmp_path / "single" / "results.csv").is_file()
    sweep = ("-m", "matcher=folded,unfolded", "hydra.sweep.dir=sweep")
    swept = command("validate", *sweep, *told, folder=tmp_path)
    assert swept.returncode == 0, swept.stderr
    assert all((tmp_path / "sweep" / job / "results.csv").is_file() for job in "01")
    assert (tmp_path / "sweep" / "0" / "results.csv").read_bytes() == (tmp_path / "single/results.csv").read_bytes()
