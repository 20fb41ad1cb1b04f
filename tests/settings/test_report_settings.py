from pathlib import Path

import pytest

from sae_match.errors import UserError
from sae_match.report.tracking.settings import LoggerSettings
from sae_match.settings.report import FinishedRuns, folders_of


def test_folders_are_one_or_several():
    assert folders_of("here") == [Path("here")]
    assert folders_of(["here", "~/there"]) == [Path("here"), Path.home() / "there"]


@pytest.mark.parametrize("runs", [[], "", None, 3, ["here", None], [["here"]]])
def test_anything_else_is_refused(runs):
    with pytest.raises(UserError, match="runs must be a folder or a list of folders"):
        folders_of(runs)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    FinishedRuns(LoggerSettings(), [str(tmp_path)]).refuse_missing()
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        FinishedRuns(LoggerSettings(), [str(tmp_path), str(tmp_path / "nowhere")]).refuse_missing()
