"""The explorer of a run that has judged its pairs: significance decides, and a path says how sure it is."""

import math

import pytest

from sae_match.report.explorer.writing import write_explorer
from tests.report.explorer.made_up import ALPHA, WIDTHS, active, cosine, judged_data, partner, q
from tests.report.explorer.reader import found, open_feature, show, table, wait_for_list, watched


@pytest.fixture(scope="module")
def judged_page(tmp_path_factory):
    return write_explorer(judged_data(), tmp_path_factory.mktemp("judged"))


@pytest.fixture
def tab(browser, judged_page):
    with watched(browser) as tab:
        yield show(tab, judged_page)


def either(source, target, feature):
    """Tokens on which one of a pair was active."""
    return active(source, feature) + active(target, partner(source, target, feature)) - 10 * feature


def carrying(level, least=-1.0, tokens=400):
    """How many features of each layer that has a step carry on."""
    steps = {0: 1, 1: 2, 2: 4}
    return {
        source: sum(
            partner(source, target, feature) >= 0
            and active(source, feature) > 0
            and active(target, partner(source, target, feature)) > 0
            and q(source, feature) <= level
            and cosine(feature) >= least
            and either(source, target, feature) >= tokens
            for feature in range(WIDTHS[source])
        )
        for source, target in steps.items()
    }


def shown(tab):
    rows = {int(row[0]): row[4] for row in table(tab, "flow-table")}
    return {layer: int(rows[layer]) for layer in (0, 1, 2)}


def test_the_level_of_the_run_decides_what_carries_on(browser, judged_page, size):
    with watched(browser, size) as tab:
        show(tab, judged_page)
        assert tab.get_by_label("Significant at").input_value() == str(ALPHA)
        assert "25 %" in tab.locator("#flow-rule").text_content()
        assert "cosine" not in tab.locator("#flow-rule").text_content()
        assert shown(tab) == carrying(ALPHA)
        assert tab.evaluate("location.hash") == ""
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_another_level_and_the_cosine_are_cuts_of_their_own(tab):
    tab.get_by_label("Significant at").select_option("1")
    tab.get_by_text("if it has a partner").wait_for()
    assert shown(tab) == carrying(math.inf)
    tab.get_by_label("Significant at").select_option("0.1")
    tab.get_by_text("q at most 10 %").wait_for()
    assert shown(tab) == carrying(0.1)
    tab.get_by_label("Significant at").select_option(str(ALPHA))
    tab.get_by_label("Decoder cosine at least").fill("0.5")
    tab.get_by_text("at least 0.50 with its own").wait_for()
    assert shown(tab) == carrying(ALPHA, 0.5)
    assert tab.evaluate("location.hash") == "#cosine=0.5"


def test_too_few_activations_are_a_state_of_their_own_and_the_number_is_movable(browser, judged_page, size):
    with watched(browser, size) as tab:
        show(tab, judged_page)
        tab.locator("#cuts-box").evaluate("of => { of.open = true; }")
        assert tab.get_by_label("Tokens at least").input_value() == "400"
        assert "fewer than 400 tokens are set apart" in tab.locator("#flow-rule").text_content()
        # Significant, live, and active on fewer than 400 tokens: 0/0 with 1/1 on 301, and 2/1 with 4/1 on 396.
        assert {row[0]: row[7:] for row in table(tab, "flow-table")} == {
            "0": ["\N{EN DASH}", "1"],
            "1": ["1", "0"],
            "2": ["0", "1"],
            "4": ["1", "\N{EN DASH}"],
            "5": ["\N{EN DASH}", "\N{EN DASH}"],
        }
        assert "rest on too few activations" in tab.locator("#flow-told").text_content()
        tab.get_by_label("Show", exact=True).select_option(value="few")
        wait_for_list(tab, ["4/1", "2/1", "1/1", "0/0"])
        tab.get_by_label("Tokens at least").fill("0")
        tab.wait_for_function("location.hash.includes('few=0')")
        wait_for_list(tab, [])
        assert shown(tab) == carrying(ALPHA, tokens=0)
        assert "set apart" not in tab.locator("#flow-rule").text_content()


def test_an_address_chooses_the_level(browser, judged_page):
    with watched(browser) as tab:
        show(tab, judged_page, "#level=0.1&cosine=0.5")
        assert shown(tab) == carrying(0.1, 0.5)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("significant", ["0/0", "0/1", "0/2", "1/0", "1/1"]),
        ("chance", ["0/3", "0/4", "0/5", "1/2", "1/3", "1/4", "1/5"]),
    ],
)
def test_filters_know_significance(tab, kind, names):
    tab.get_by_label("Order by").select_option("feature")
    tab.get_by_label("to layer", exact=True).select_option(label="1")
    tab.get_by_label("Show", exact=True).select_option(value=kind)
    wait_for_list(tab, names)


def test_features_are_ordered_by_q_and_say_it(tab):
    tab.get_by_label("to layer", exact=True).select_option(label="1")
    tab.get_by_label("Order by").select_option("significance")
    by_q = sorted((q(layer, feature), layer, feature) for layer in (0, 1) for feature in range(6))
    wait_for_list(tab, [f"{layer}/{feature}" for _, layer, feature in by_q])
    assert f"q\N{NO-BREAK SPACE}{q(0, 1):.3f}" in tab.locator("#results .numbers").nth(2).text_content()


def test_a_path_says_how_sure_each_step_is_and_how_sure_all_of_it(browser, judged_page, size):
    with watched(browser, size) as tab:
        show(tab, judged_page)
        # 0/0 → 1/1 → 2/3 → 4/3, by q of 0, 0.141, 0.406.
        open_feature(tab, "1/1")
        rows = table(tab, "path-table")
        assert [row[5:9] for row in rows[1:]] == [
            ["<\N{NO-BREAK SPACE}0.001", "0.125", "no", "encoder"],
            ["0.141", "0.125", "yes", "encoder"],
            ["0.406", "0.125", "yes", "encoder"],
        ]
        assert [row[-1] for row in rows[1:]] == ["too few", "yes", "no"]
        said = tab.locator("#summary").text_content()
        assert "carried through 2 layers, 1 to 2; its weakest step has q 0.141" in said
        assert "The step from 0 to 1 rests on 301 tokens, too few to say" in said
        assert "14.1 % are chance" in said
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_path_is_solid_as_long_as_it_is_significant(tab):
    open_feature(tab, "1/1")
    names = tab.evaluate(
        "echarts.getInstanceByDom(document.getElementById('path-chart')).getOption().series"
        ".filter((one) => one.symbol === 'none').map(({ name, data, lineStyle }) => [name, data, lineStyle.type])"
    )
    assert names == [
        ["significant step", [0, 0, 0, None], "solid"],
        ["may be chance", [None, None, 0, 0], "dashed"],
    ]
    # The cosine is another cut: it changes what carries on, not how sure a step is.
    tab.get_by_label("Decoder cosine at least").fill("0.95")
    tab.get_by_text("carried no further").wait_for()
    assert "significant step" in tab.locator("#path-chart").text_content()


def test_too_few_activations_are_said_to_be(tab):
    open_feature(tab, "1/1")
    # On 100, 201, 402 and 404 tokens: 301, 593 and 776 with one of both.
    assert [row[-2].endswith("(too few)") for row in table(tab, "path-table")[1:]] == [True, False, False]


def test_a_run_that_has_judged_nothing_has_the_cosine_alone(browser, report):
    with watched(browser) as tab:
        show(tab, report, "#kind=significant&sort=significance&level=0.01")
        assert tab.get_by_label("Significant at").count() == 0
        assert tab.get_by_label("Show", exact=True).locator("option[value=significant]").count() == 0
        assert len(found(tab)) == sum(WIDTHS.values())
        assert "at least 0.70 with its own" in tab.locator("#flow-rule").text_content()
