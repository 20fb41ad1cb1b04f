"""The explorer's list of features: what is found, what filters leave, and in which order."""

import dataclasses

import pytest

from sae_match.report.explorer import writing
from tests.report.explorer import made_up
from tests.report.explorer.made_up import WIDTHS, explorer_data
from tests.report.explorer.reader import found, look_for, show, wait_for_list, watched

FEATURES = sum(WIDTHS.values())


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("1/3", ["1/3"]),
        ("L1 3", ["1/3"]),
        ("layer 1, feature 3", ["1/3"]),
        ("topic4 words layer", ["0/4", "1/4", "2/4", "4/4"]),
        ("mark2x3", ["2/3"]),
        ("TOPIC1 LAYER 4", ["4/1"]),
        ("alert(1)", ["1/3"]),
        ("no such words", []),
        ('"topic4 in layer 1"', ["1/4"]),
        ('"topic4 layer"', []),
        ("5", ["0/5", "1/5", "2/5", "4/5"]),
    ],
)
def test_features_are_found_by_name_and_by_words(tab, query, names):
    tab.get_by_label("Order by").select_option("feature")
    listed = look_for(tab, query)
    # A bare number is a feature's first, and a word of descriptions as well.
    assert listed[: len(names)] == names
    assert tab.locator("#count").text_content().startswith(f"{len(listed)} feature")
    if query != "5":
        assert listed == names


def test_a_feature_that_is_not_there_is_said_to_be_missing(tab):
    for query in ("99/1", "5/4"):
        look_for(tab, query)
        assert tab.locator("#count").text_content() == f"There is no feature {query} here."
    look_for(tab, "5/2")
    assert tab.locator("#count").text_content() == "1 feature"


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"Cost at most": "0.5"}, ["0/0", "1/0", "2/0", "4/0"]),
        ({"Active on at least, %": "60"}, ["0/5", "2/5", "4/5"]),
        ({"From layer": "4"}, ["4/0", "4/1", "4/2", "4/3", "4/4", "4/5", "5/0", "5/1", "5/2"]),
        ({"From layer": "1", "to layer": "1", "Show": "live"}, ["1/0", "1/1", "1/2", "1/3", "1/4"]),
        ({"Show": "dead"}, ["1/5", "2/0"]),
        ({"Show": "carries"}, ["0/3", "0/5", "1/3", "2/3", "2/5"]),
        ({"Show": "ends", "to layer": "0"}, ["0/0", "0/1", "0/2", "0/4"]),
        ({"Show": "appears", "From layer": "4"}, ["4/0", "4/1", "4/2", "4/4"]),
    ],
)
def test_filters_leave_what_they_say(tab, filters, names):
    tab.get_by_label("Order by").select_option("feature")
    for name, value in filters.items():
        control = tab.get_by_label(name, exact=True)
        if name in ("From layer", "to layer", "Show"):
            control.select_option(**({"value": value} if name == "Show" else {"label": value}))
        else:
            control.fill(value)
    wait_for_list(tab, names)
    hidden = f"; the filters hide {FEATURES - len(names)}"
    assert tab.locator("#count").text_content() == f"{len(names)} features{hidden}"
    tab.get_by_role("button", name="Reset filters").click()
    tab.get_by_text(f"{FEATURES} features", exact=True).wait_for()


def test_the_order_is_by_activity_cost_or_layers(tab):
    assert found(tab)[:2] == ["4/5", "2/5"]
    for order, first in (
        ("cost", ["0/0", "1/0", "2/0"]),
        ("length", ["1/3", "2/5", "4/5"]),
        ("feature", ["0/0", "0/1"]),
    ):
        tab.get_by_label("Order by").select_option(order)
        tab.wait_for_timeout(200)
        assert found(tab)[: len(first)] == first


def test_of_those_that_fire_on_a_word_the_one_that_fires_most_on_it_is_first(browser, tmp_path):
    labels = ["' new' 12%, ' old' 9%", "' new' 62%", "'anew' 99%", "' new' 100%", "", ""]
    layer = dataclasses.replace(made_up.layer_data(0), labels=labels)
    with watched(browser) as tab:
        show(tab, writing.write_explorer(explorer_data(layers=[layer], steps=[]), tmp_path), "#q=new")
        assert found(tab) == ["0/3", "0/1", "0/0", "0/2"]


def test_the_best_match_is_a_whole_word_early_in_a_short_text(browser, tmp_path):
    labels = ["fires on old, new", "fires on new", "fires on newer", "else, at greater length, it fires on new", "", ""]
    layer = dataclasses.replace(made_up.layer_data(0), labels=labels)
    page = writing.write_explorer(explorer_data(layers=[layer], steps=[]), tmp_path)
    with watched(browser) as tab:
        show(tab, page)
        assert look_for(tab, "new") == ["0/1", "0/0", "0/3", "0/2"]
        advice = tab.locator("#advice")
        assert advice.text_content() == (
            '3 with the whole word, then 1 with longer ones. For whole words only, put it in quotes: "new".'
        )
        # Nothing is chosen: the first that was found is shown, and the address does not say so.
        tab.wait_for_selector('#path[data-shown="0/1"]')
        assert "f=" not in tab.evaluate("location.hash")
        assert look_for(tab, '"new"') == ["0/1", "0/0", "0/3"]
        assert not advice.is_visible()
        assert look_for(tab, "ne") == ["0/1", "0/2", "0/0", "0/3"]
        assert advice.text_content() == "None has it as a whole word: these have longer ones."
        assert look_for(tab, "nowhere") == []
        assert advice.text_content().startswith("No feature fires on “nowhere” in the evaluated text")
        assert look_for(tab, "new") == ["0/1", "0/0", "0/3", "0/2"]
        tab.get_by_label("Order by").select_option("activity")
        wait_for_list(tab, ["0/3", "0/2", "0/1", "0/0"])
