"""What was said of features joins the page of the run that matched them."""

import json
import math

import pytest
import torch

from sae_match.errors import UserError
from sae_match.matching.result import Matching
from sae_match.report.explorer.writing import write_explorer
from sae_match.report.judged import page as judged_page
from sae_match.report.judged.page import JudgedPage, judgements_of
from tests.report.explorer.made_up import SHIFTS, explorer_data, step_data, unpacked
from tests.report.judged.made_up import answers


def matching(permutation):
    return Matching(permutation, torch.full((len(permutation),), math.nan, dtype=torch.float64))


@pytest.fixture
def run(tmp_path):
    """A run's folder, and the matchings that its page shows."""
    write_explorer(explorer_data(), tmp_path)
    matchings = {pair: matching(step_data(*pair).permutation) for pair in SHIFTS}
    for (source, target), of in matchings.items():
        of.save(tmp_path / "matchings" / f"L{source:02d}-L{target:02d}.safetensors")
    return tmp_path, matchings


def test_only_partners_are_shown_and_controls_are_counted():
    found = judgements_of({"one": answers(), "two": answers()}, {"shown": "contexts"})
    assert {pair.arm for pair in found.pairs} == {"matched", "composed"}
    assert len(found.pairs) == 30 + 20 + 20
    assert all(len(pair.verdicts) == 2 for pair in found.pairs)
    assert list(found.scores) == ["one", "two"]
    assert found.scores["one"]["random"].counts == (30, 0, 0, 0)
    assert found.scores["one"]["identical"].value == 3
    assert found.shown[2, 0] == "first 0"
    # A target that no pair begins at.
    assert found.shown[5, 10] == "second 9"


def test_the_page_of_the_same_matchings_shows_them(run):
    folder, matchings = run
    page = JudgedPage(folder)
    page.refuse_other_matchings(matchings)
    page.show({"one": answers()}, {"shown": "contexts"})
    value = json.loads(unpacked(folder / "report" / "data" / "judgements.js"))
    assert [judge["name"] for judge in value["judges"]] == ["one"]
    assert len(value["pairs"]) == 70
    assert value["about"] == [["shown", "contexts"]]
    assert page.file == folder / "report.html"


def test_a_page_of_other_matchings_is_refused(run):
    folder, matchings = run
    page = JudgedPage(folder)
    other = matching(matchings[0, 1].permutation.flip(0))
    with pytest.raises(UserError, match=r"matched layers 0 and 1 in another way; choose the sae and matcher"):
        page.refuse_other_matchings({**matchings, (0, 1): other})
    wider = matching(torch.arange(7))
    with pytest.raises(UserError, match=r"matched layers 1 and 2 in another way"):
        page.refuse_other_matchings({**matchings, (1, 2): wider})
    with pytest.raises(UserError, match=r"did not match layers 4 and 5; validate them as well"):
        page.refuse_other_matchings({**matchings, (4, 5): other})


def test_a_page_that_cannot_be_written_is_refused_before_anybody_is_asked(run, monkeypatch):
    def refused(folder):
        # Permissions bind nobody who may do everything, as tests often may.
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(judged_page, "make_writable", refused)
    with pytest.raises(UserError, match=r"page=.*: cannot write .*data: Permission denied"):
        JudgedPage(run[0])


def test_a_folder_without_a_page_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no report.html"):
        JudgedPage(tmp_path)
