"""The tour: its cells run, and print the numbers that are kept in it."""

import copy
import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

TOUR = ROOT / "scripts" / "tour.ipynb"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


def printed(cell) -> str:
    return "".join(output["text"] for output in cell.outputs if output.get("name") == "stdout")


def pictures(cell) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def cells_of(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def differences(kept: str, found: str) -> list[str]:
    """What two texts differ in: words must be equal, numbers about so, as other processors round otherwise."""
    if NUMBER.sub("#", kept) != NUMBER.sub("#", found):
        return [f"{kept!r} became {found!r}"]
    pairs = zip(NUMBER.findall(kept), NUMBER.findall(found), strict=True)
    values = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs]
    return [f"{a} became {b}" for a, b in values if b != pytest.approx(a, rel=0.02, abs=2e-3)]


@pytest.fixture(scope="module")
def kept():
    return nbformat.read(TOUR, as_version=4)


def test_the_tour_runs_and_prints_what_is_kept_in_it(kept, tmp_path):
    found = copy.deepcopy(kept)
    NotebookClient(found, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for before, after in zip(cells_of(kept), cells_of(found), strict=True):
        assert differences(printed(before), printed(after)) == [], before.source
        assert pictures(before) == pictures(after)


def test_the_tour_has_ten_cells_all_with_what_they_show(kept):
    cells = cells_of(kept)
    assert len(cells) == 10
    assert all(printed(cell) or pictures(cell) for cell in cells)
    assert sum(pictures(cell) for cell in cells) == 1


@pytest.mark.parametrize(
    ("kept", "found", "same"),
    [
        ("median 0.732, above", "median 0.731, above", True),
        ("median 0.732, above", "median 0.632, above", False),
        ("8,160 tokens", "8,159 tokens", True),
        ("[915, 918]", "[915, 31]", False),
        ("' more' 53%", "' less' 53%", False),
        ("difference 1e-05", "difference 2e-05", True),
    ],
)
def test_numbers_are_compared_and_words_are_equal(kept, found, same):
    assert (differences(kept, found) == []) is same
