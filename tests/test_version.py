"""What results say they were made by."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest

import sae_match
from sae_match import version
from sae_match.errors import UserError
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(autouse=True)
def _asked_anew():
    version.commit.cache_clear()
    version.version.cache_clear()
    yield
    version.commit.cache_clear()
    version.version.cache_clear()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one commit that the package is used from."""
    package = tmp_path / "src" / "sae_match"
    package.mkdir(parents=True)
    (package / "version.py").write_text("first\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(version, "__file__", str(package / "version.py"))
    return tmp_path


def git(folder, *told):
    return subprocess.run(["git", *told], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_version_is_that_of_the_installed_package():
    assert sae_match.__version__ == version.version() == installed_version("sae-match")
    assert "__version__" in dir(sae_match)


def test_files_that_are_not_installed_have_no_version(monkeypatch):
    def missing(name):
        raise version.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(version.importlib.metadata, "version", missing)
    assert version.version() == "unknown"


def test_a_checkout_says_its_commit_and_whether_its_files_are_those(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    assert version.provenance() == {"package_version": installed_version("sae-match"), "commit": head}
    (checkout / "notes").write_text("nothing of the package\n")
    version.commit.cache_clear()
    assert version.commit() == head
    (checkout / "src" / "sae_match" / "version.py").write_text("second\n")
    version.commit.cache_clear()
    assert version.commit() == f"{head}+changes"


def test_an_installed_package_has_no_commit_even_below_a_repository(checkout, monkeypatch):
    elsewhere = checkout / "env" / "site-packages" / "sae_match"
    elsewhere.mkdir(parents=True)
    monkeypatch.setattr(version, "__file__", str(elsewhere / "version.py"))
    assert version.commit() is None
    assert set(version.provenance()) == {"package_version"}


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_without_git_there_is_no_commit(monkeypatch, path):
    monkeypatch.setenv("PATH", path)
    assert version.commit() is None


def test_it_is_written_whole_or_said_that_it_cannot_be(tmp_path):
    version.write_provenance(tmp_path)
    assert json.loads((tmp_path / "provenance.json").read_text()) == version.provenance()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        version.write_provenance(tmp_path / "file" / "below")


def test_every_public_name_is_there_and_no_module_stands_in_its_way():
    for name in sae_match.__all__:
        assert getattr(sae_match, name).__name__ == name
        assert not (Path(sae_match.__file__).parent / f"{name}.py").exists()
        assert not (Path(sae_match.__file__).parent / name).exists()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sae_match.nothing


def test_a_public_name_is_the_function_whichever_module_is_imported_first():
    statement = "import sae_match.matching.matching, sae_match; print(type(sae_match.match).__name__)"
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["function"]


def test_the_lower_bounds_are_the_versions_that_were_tried():
    tried = dict(
        line.split("==") for line in (ROOT / ".github" / "lowest.txt").read_text().splitlines() if "==" in line
    )
    bounds = {
        match[1]: match[2] for match in (re.match(r"([\w-]+)>=([\d.]+)", needed) for needed in PROJECT["dependencies"])
    }
    assert tried.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert padded(bound) == padded(tried[name]), name


def padded(number):
    parts = [int(part) for part in number.split(".")]
    return parts + [0] * (4 - len(parts))


def test_withdrawn_releases_are_excluded():
    (lightning,) = (needed for needed in PROJECT["dependencies"] if needed.startswith("lightning"))
    assert "!=2.6.2" in lightning
    assert "!=2.6.3" in lightning
