import os
import pwd
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from sae_match import homes
from sae_match.errors import UserError
from sae_match.semantics.judge import JudgeSettings, open_judge

OF_LIBRARIES = ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """What is set here ends with the test, as does the folder that is made for the process."""
    for name in (*OF_LIBRARIES, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", os.environ.get("HOME", ""))
    homes._for_this_process.cache_clear()
    yield
    homes._for_this_process.cache_clear()


@pytest.fixture
def homeless(monkeypatch):
    """A user whom the system does not know, as in `docker run --user 12345`."""

    def unknown(_number):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")


@pytest.fixture
def read_only(monkeypatch, tmp_path):
    """A home folder that cannot be written, whoever runs the tests."""
    home, access = tmp_path / "home", os.access
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(home) and access(path, mode))
    return home


def test_with_a_home_nothing_is_told_and_nothing_moves(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert homes.have_a_home() is None
    assert not any(name in os.environ for name in OF_LIBRARIES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("homeless")
def test_without_a_home_there_is_one_for_this_process():
    assert "set cache_dir" in homes.have_a_home()
    assert Path.home().is_dir()
    assert not homes.lasts(Path.home() / ".cache" / "sae-match")
    assert homes.lasts(Path("/elsewhere"))


def test_a_home_that_cannot_be_written_stays_the_home(read_only):
    assert "WANDB_DATA_DIR" in homes.have_a_home()
    assert Path.home() == read_only
    for name in OF_LIBRARIES[:4]:
        Path(os.environ[name]).mkdir()


@pytest.mark.usefixtures("read_only")
def test_what_the_user_has_set_is_left(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "mine"))
    assert "WANDB_DATA_DIR" not in homes.have_a_home()
    assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "mine")


def test_compiled_loops_are_kept_beside_the_package_or_at_home(read_only, tmp_path):
    homes.keep_compiled(tmp_path / "package")
    assert "NUMBA_CACHE_DIR" not in os.environ
    homes.keep_compiled(read_only / "package")
    assert Path(os.environ["NUMBA_CACHE_DIR"]).is_relative_to(homes._for_this_process())
    assert os.environ["NUMBA_CACHE_DIR"] == numba.config.CACHE_DIR


def test_a_folder_for_compiled_loops_that_cannot_be_written_is_replaced(read_only, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(read_only / "compiled"))
    homes.keep_compiled(tmp_path)
    assert not Path(os.environ["NUMBA_CACHE_DIR"]).is_relative_to(read_only)


def test_the_folder_ends_with_its_process():
    program = "from sae_match import homes; print(homes._for_this_process())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).name.startswith("sae-match-")
    assert not Path(done.stdout.strip()).exists()


@pytest.mark.usefixtures("homeless")
def test_answers_that_are_paid_for_need_a_folder_that_lasts(tmp_path):
    homes.have_a_home()
    settings = JudgeSettings("openai", "m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match=r"no home folder.*judge.cache=FOLDER"):
        open_judge(settings, Path.home() / "answers")
    open_judge(settings, tmp_path / "answers")
