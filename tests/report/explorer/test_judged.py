"""What judges said, on a page that is already written."""

import json

import pytest

from sae_match.errors import UserError
from sae_match.report.explorer.judged import Judgements, write_judgements
from sae_match.report.explorer.writing import judgements_of_page, write_explorer
from tests.report.explorer.made_up import JUDGES, NASTY, WIDTHS, explorer_data, judgements, unpacked
from tests.report.explorer.reader import (
    DASH,
    SIZES,
    found,
    open_feature,
    show,
    table,
    wait_for_list,
    watched,
)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A page that judgements have joined."""
    page, chunks = judgements_of_page(write_explorer(explorer_data(), tmp_path_factory.mktemp("run")).parent)
    write_judgements(judgements(), chunks)
    return page


def test_every_verdict_stands_in_the_chunk(judged):
    value = json.loads(unpacked(judged.parent / "report" / "data" / "judgements.js"))
    assert value["about"] == [["asked about", "4 paths"], ["shown", NASTY]]
    assert value["judges"] == [
        {"name": name, "arms": [["matched", 10, 20, 30, at, 2.25, 2.0, 2.5], ["random", 60, 0, 0, 0, 1.0, None, None]]}
        for at, name in enumerate(JUDGES)
    ]
    assert value["pairs"] == [
        ["matched", 0, 2, 1, 3, [[3, 3.0, 0.5, ""], [2, 2.5, None, NASTY]]],
        ["matched", 0, 2, 2, 1, [[1, 1.0, 0.0, ""], [1, 1.0, None, ""]]],
        ["composed", 0, 2, 2, 5, [[2, 2.0, 0.25, ""], [2, 2.0, None, ""]]],
        ["matched", 1, 3, 2, 5, [[1, 1.0, 0.0, ""], [None, None, None, f"refused: {NASTY}"]]],
    ]
    assert [name[:2] for name in value["shown"]] == [[0, 2], [1, 3], [2, 1], [2, 5]]


def test_judgements_replace_those_before_and_leave_nothing_beside_them(tmp_path):
    page, chunks = judgements_of_page(write_explorer(explorer_data(), tmp_path).parent)
    before = {file.name for file in chunks.iterdir()}
    write_judgements(judgements(), chunks)
    write_judgements(Judgements(), chunks)
    assert json.loads(unpacked(chunks / "judgements.js")) == {"about": [], "judges": [], "pairs": [], "shown": []}
    assert {file.name for file in chunks.iterdir()} == before
    assert page == tmp_path / "report.html"


def test_a_folder_without_a_page_that_they_can_join_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"page=.*: there is no report.html; it must be the folder"):
        judgements_of_page(tmp_path)
    write_explorer(explorer_data(), tmp_path)
    (tmp_path / "report" / "data" / "judgements.js").unlink()
    with pytest.raises(UserError, match=r"report.html stands without its folder, or is of an earlier version"):
        judgements_of_page(tmp_path)


@pytest.mark.parametrize("size", SIZES)
def test_scores_stand_above_the_search(browser, judged, size):
    with watched(browser, size) as tab:
        show(tab, judged)
        told = tab.locator("#judges-told").text_content()
        assert "overlap: matched pairs 2.25 (2.00 to 2.50), random pairs 1.00." in told
        tab.get_by_text("All scores, and what they are").click()
        assert f"shown{NASTY}" in tab.locator("#judges-about").text_content()
        assert table(tab, "judges-table") == [
            row
            for at, name in enumerate(JUDGES)
            for row in (
                [name, "matched", "10", "20", "30", str(at), "2.25", "2.00 to 2.50"],
                [name, "random", "60", "0", "0", "0", "1.00", DASH],
            )
        ]
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("size", SIZES)
def test_a_path_says_what_was_said_of_its_steps_and_of_what_lies_further_on(browser, judged, size):
    with watched(browser, size) as tab:
        show(tab, judged)
        open_feature(tab, "2/5")
        steps = [row[:2] + row[5:7] for row in table(tab, "path-table")]
        assert steps == [
            ["0", "2", DASH, DASH],
            ["1", "3", "same", "maybe (2.5)"],
            ["2", "5", "different", "no label"],
            ["4", "5", DASH, DASH],
        ]
        assert tab.locator("#judged-told").text_content() == (
            "Asked about 4 matched and composed pairs that begin on this path: "
            "overlap says same of 1, maybe of 1, different of 2; "
            "a model says maybe of 2, different of 1, no label of 1."
        )
        tab.get_by_text("Every pair that was asked about").click()
        assert table(tab, "judged-table") == [
            ["0/2", "1/3", "same", "maybe (2.5)", "matched", f"overlap: 0.5; a model: {NASTY}"],
            ["0/2", "2/1", "different", "different", "matched", "overlap: 0"],
            ["0/2", "2/5", "maybe", "maybe", "composed", "overlap: 0.25"],
            ["1/3", "2/5", "different", "no label", "matched", f"overlap: 0; a model: refused: {NASTY}"],
        ]
        tab.get_by_text("What the judges were shown").click()
        assert f"shown of 2x1 {NASTY}" in tab.locator("#judged-evidence").inner_text()
        assert tab.locator("main b, main i, main script").count() == 0
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        tab.locator("#judged-table").get_by_role("button", name="Open feature 2/1").click()
        tab.wait_for_selector('#path[data-shown="2/1"]')
        assert tab.locator("#judged-told").text_content() == "No judge was asked about this path."


def test_features_are_filtered_by_what_was_said_of_their_step(browser, judged):
    with watched(browser) as tab:
        show(tab, judged)
        for label, names in (("same", ["0/2"]), ("different", ["1/3"]), ("maybe", [])):
            tab.get_by_label("Show", exact=True).select_option(f"judged {label}")
            wait_for_list(tab, names)
            said = tab.locator("#results .numbers").all_text_contents()
            assert all(numbers.endswith(f"judged {label}") for numbers in said)


def test_a_page_without_judgements_says_nothing_of_them(browser, report):
    with watched(browser) as tab:
        show(tab, report, "#kind=judged-3&f=1/3")
        assert len(found(tab)) == sum(WIDTHS.values())
        assert tab.get_by_label("Show", exact=True).input_value() == "all"
        assert not tab.locator("#judges, #judged").first.is_visible()
        assert not tab.locator("#judged").is_visible()
        assert "judged" not in tab.locator("#kind").inner_text()
