from pathlib import Path

import pytest

from sae_match.errors import UserError
from sae_match.settings.report import folders_of


def test_folders_are_one_or_several():
    assert folders_of("here") == [Path("here")]
    assert folders_of(["here", "~/there"]) == [Path("here"), Path.home() / "there"]


@pytest.mark.parametrize("runs", [[], "", None, 3, ["here", None], [["here"]]])
def test_anything_else_is_refused(runs):
    with pytest.raises(UserError, match="runs must be a folder or a list of folders"):
        folders_of(runs)
