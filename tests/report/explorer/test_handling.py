"""The explorer's addresses, keys and names of controls."""

from tests.report.explorer.made_up import WIDTHS
from tests.report.explorer.reader import flow_expected, found, look_for, open_feature, show, table, watched

FEATURES = sum(WIDTHS.values())


def test_a_link_brings_everything_back_in_a_fresh_page(browser, report):
    with watched(browser) as tab:
        show(tab, report)
        tab.get_by_label("Decoder cosine at least").fill("0.55")
        tab.get_by_label("Cost at most", exact=True).fill("4")
        tab.get_by_label("to layer", exact=True).select_option("2")
        tab.get_by_label("Show", exact=True).select_option("live")
        tab.get_by_label("Order by").select_option("cost")
        open_feature(tab, "2/1")
        look_for(tab, "topic1 layer")
        address, names = tab.evaluate("location.href"), found(tab)
        tab.get_by_role("button", name="Copy link").click()
        tab.locator("#copied:not(:empty)").wait_for()
    assert names
    with watched(browser) as tab:
        tab.goto(address)
        tab.wait_for_selector("html[data-ready]")
        assert found(tab) == names
        assert tab.locator("#query").input_value() == "topic1 layer"
        assert tab.get_by_label("Cost at most", exact=True).input_value() == "4"
        assert tab.get_by_label("to layer", exact=True).input_value() == "2"
        assert tab.get_by_label("Show", exact=True).input_value() == "live"
        assert tab.locator("#cosine-shown").text_content() == "0.55"
        assert tab.locator("#path-title").text_content() == "Layer 2, feature 1"
        assert table(tab, "flow-table") == flow_expected(0.55)


def test_the_back_button_goes_back_to_the_feature_before(tab):
    open_feature(tab, "0/2")
    tab.get_by_role("button", name="Layer after").click()
    tab.wait_for_selector('#path[data-shown="1/3"]')
    tab.go_back()
    tab.wait_for_selector('#path[data-shown="0/2"]')
    tab.go_forward()
    tab.wait_for_selector('#path[data-shown="1/3"]')


def test_an_address_changed_by_hand_is_taken_up(tab):
    tab.evaluate("location.hash = '#f=4/2&q=topic2'")
    tab.wait_for_selector('#path[data-shown="4/2"]')
    assert tab.locator("#query").input_value() == "topic2"


def test_what_an_address_says_wrongly_is_left_out(browser, report):
    with watched(browser) as tab:
        show(tab, report, "#f=99/1&sort=%00&cosine=7&from=77&cost=x&kind=<b>")
        assert tab.locator("#path-empty").text_content() == "There is no feature 99/1 here."
        assert tab.locator("#cosine-shown").text_content() == "0.70"
        assert tab.locator("#count").text_content() == f"{FEATURES} features"


def test_everything_can_be_done_from_the_keyboard(browser, report, size):
    with watched(browser, size) as tab:
        show(tab, report)
        tab.keyboard.press("/")
        assert tab.evaluate("document.activeElement.id") == "query"
        tab.keyboard.type("topic2")
        tab.wait_for_selector('#results[data-query="topic2"]')
        for _ in range(2):
            tab.keyboard.press("ArrowDown")
        chosen = tab.locator("#" + tab.locator("#query").get_attribute("aria-activedescendant"))
        assert chosen.locator(".feature").text_content() == found(tab)[1]
        tab.keyboard.press("Enter")
        tab.wait_for_selector(f'#path[data-shown="{found(tab)[1]}"]')
        assert chosen.get_attribute("aria-selected") == "true"
        assert tab.evaluate("document.activeElement.id") == "results"
        tab.keyboard.press("End")
        tab.keyboard.press("Enter")
        tab.wait_for_selector(f'#path[data-shown="{found(tab)[-1]}"]')


def test_keys_go_along_the_path_that_enter_has_opened(browser, report, size):
    with watched(browser, size) as tab:
        show(tab, report)
        tab.keyboard.press("/")
        tab.keyboard.type("1/2")
        tab.wait_for_selector('#results[data-query="1/2"]')
        tab.keyboard.press("Enter")
        tab.wait_for_selector('#path[data-shown="1/2"]')
        back, forth = ("[", "]") if tab.locator("#after").is_disabled() else ("]", "[")
        tab.keyboard.press(back)
        tab.wait_for_selector('#path:not([data-shown="1/2"])')
        tab.keyboard.press(forth)
        tab.wait_for_selector('#path[data-shown="1/2"]')
        assert tab.locator("#query").input_value() == "1/2"


def test_tab_reaches_every_control_and_the_focus_is_seen(tab):
    open_feature(tab, "1/2")
    tab.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if tab.evaluate("document.activeElement.id") == "copy":
            outline = tab.evaluate("getComputedStyle(document.activeElement).outlineWidth")
            assert outline == "3px"
    assert {"query", "cosine-cut", "cost-cut", "from", "to", "max-cost", "min-active", "kind", "sort"} <= reached
    assert {"reset", "results", "before", "after", "copy", "SUMMARY", "A", "BUTTON"} <= reached


def test_every_control_has_a_name_and_every_table_a_caption(tab):
    open_feature(tab, "1/2")
    for control in tab.locator("main input, main select, main button:visible").all():
        assert (
            control.evaluate("of => (of.labels?.length || of.ariaLabel || of.textContent.trim()) ? 'named' : of.id")
            == "named"
        )
    assert all(tab.locator("table caption").all_text_contents())
    for role in ("banner", "main", "contentinfo"):
        assert tab.get_by_role(role).count() == 1
