from pathlib import Path

import pytest

from sae_match.report.sweeps import group_name, sweep_folder


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/home/me/multirun/validate/2026-01-31/12-00-00", "validate/2026-01-31/12-00-00"),
        ("/home/me/sweeps/l0", "sweeps/l0"),
        ("/home/me/multirun", "multirun"),
        ("/data/of/all/sweeps/l0", "all/sweeps/l0"),
    ],
)
def test_a_group_is_called_by_the_folder_of_its_sweep(folder, name):
    assert group_name(Path(folder), Path("/home/me")) == name


def test_the_sweep_is_above_its_jobs():
    assert sweep_folder(Path("/a/sweep/3"), "3") == Path("/a/sweep")
    assert sweep_folder(Path("/a/sweep/matcher=folded/3"), "matcher=folded/3") == Path("/a/sweep")
