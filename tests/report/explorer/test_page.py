"""The explorer in a real Chromium, from disk: what a reader does with it."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sae_match.benchmark.browser import VARIABLE, executable, running_browser
from sae_match.errors import UserError
from sae_match.report.explorer import writing
from tests.report.explorer import made_up
from tests.report.explorer.made_up import DEAD, NASTY, SHIFTS, WIDTHS, active, cosine, explorer_data, partner

SIZES = {"wide": (1440, 900), "narrow": (375, 812)}
DASH = "\N{EN DASH}"
FEATURES = sum(WIDTHS.values())


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page whose paths are spread over several chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_FEATURES_OF_CHUNK", 6)
        return writing.write_explorer(explorer_data(), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def browser():
    try:
        executable()
    except UserError as error:
        pytest.fail(str(error))
    with running_browser() as running:
        yield running


@contextmanager
def watched(browser, size="wide", **options) -> Iterator:
    """A new tab; afterwards nothing may have gone wrong in it, nor anything but files have been asked for."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    tab = context.new_page()
    tab.set_default_timeout(10_000)
    wrong = []
    tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url))
    yield tab
    assert wrong == []
    context.close()


@pytest.fixture(params=SIZES)
def size(request):
    return request.param


@pytest.fixture
def tab(browser, report):
    with watched(browser) as tab:
        yield show(tab, report)


def show(tab, report, state=""):
    tab.goto("about:blank")
    tab.goto(report.as_uri() + state)
    tab.wait_for_selector("html[data-ready]")
    return tab


def table(tab, name):
    """Cells of a table's rows, as text."""
    return [row.locator("th, td").all_text_contents() for row in tab.locator(f"#{name} tbody tr").all()]


def found(tab):
    """Names of the features in the list."""
    return tab.locator("#results .feature").all_text_contents()


def look_for(tab, text):
    tab.locator("#query").fill(text)
    tab.wait_for_selector(f'#results[data-query="{text}"]', state="attached")
    return found(tab)


def wait_for_list(tab, names):
    """Until the list shows these."""
    for _ in range(100):
        if found(tab) == names:
            return
        tab.wait_for_timeout(20)
    assert found(tab) == names


def open_feature(tab, name):
    look_for(tab, name)
    tab.locator("#results li").first.click()
    tab.wait_for_selector(f'#path[data-shown="{name}"]')


def flow_expected(cut):
    """Live, carried on, appearing, carrying on, ending and never active, layer by layer."""
    layers = list(WIDTHS)
    carried = {
        pair: sum(
            1
            for feature in range(WIDTHS[pair[0]])
            if (target := partner(*pair, feature)) >= 0
            and active(pair[0], feature)
            and active(pair[1], target)
            and cosine(feature) >= cut
        )
        for pair in SHIFTS
    }
    rows = []
    for layer, before, after in zip(layers, [None, *layers], [*layers[1:], None], strict=False):
        live = sum(1 for feature in range(WIDTHS[layer]) if (layer, feature) not in DEAD)
        into, out = carried.get((before, layer)), carried.get((layer, after))
        counts = [live, into, None if into is None else live - into, out, None if out is None else live - out]
        rows.append(
            [str(layer), *(DASH if count is None else str(count) for count in counts), str(WIDTHS[layer] - live)]
        )
    return rows


def test_the_first_view_says_what_it_is_and_shows_the_flow(browser, report, size):
    with watched(browser, size) as tab:
        show(tab, report)
        assert tab.get_by_role("heading", level=1).text_content() == "Model <i>one</i>"
        assert "0\N{EN DASH}2, 4\N{EN DASH}5" in tab.locator("#facts").text_content()
        assert NASTY in tab.locator("#facts").text_content()
        assert table(tab, "flow-table") == flow_expected(0.7)
        assert tab.locator("#flow-chart svg").count() == 1
        assert "carry on" in tab.locator("#flow-chart").get_attribute("aria-label")
        assert tab.locator("#count").text_content() == f"{FEATURES} features"
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_another_cut_redraws_the_flow(tab):
    tab.get_by_label("Decoder cosine at least").fill("0.85")
    tab.get_by_text("at least 0.85 with its own").wait_for()
    assert table(tab, "flow-table") == flow_expected(0.85)
    assert tab.evaluate("location.hash") == "#cosine=0.85"
    tab.get_by_label("and cost at most").fill("0.1")
    tab.get_by_text("costs at most 0.1").wait_for()
    assert [row[4] for row in table(tab, "flow-table")] == ["0", "0", "0", DASH, DASH]


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
        ("99/1", []),
        ("no such words", []),
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


def test_a_path_shows_cost_cosine_coactivation_and_activity_at_each_step(browser, report, size):
    with watched(browser, size) as tab:
        show(tab, report)
        open_feature(tab, "1/3")
        assert tab.locator("#path-title").text_content() == "Layer 1, feature 3"
        rows = table(tab, "path-table")
        assert [row[:2] for row in rows] == [["0", "2"], ["1", "3"], ["2", "5"], ["4", "5"]]
        assert [row[3] for row in rows] == ["30 %", "40.1 %", "60.2 %", "60.4 %"]
        assert [row[5:] for row in rows] == [
            [DASH] * 7,
            ["2.5", "0.475", "0.600", "20", "6.67 %", "0.029", "no"],
            ["3.5", "0.575", "0.700", "30", "7.48 %", "0.031", "yes"],
            ["5.5", "0.775", "0.900", "50", "8.31 %", "0.043", "yes"],
        ]
        assert "carried through 3 layers, 1 to 4" in tab.locator("#summary").text_content()
        assert tab.locator("#path-table tr[aria-current]").count() == 1
        assert tab.locator("#path-chart svg").count() == 1
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_feature_opens_with_its_own_details(tab):
    for layer, width in WIDTHS.items():
        for feature in range(width):
            tab.evaluate("name => Explorer.state.set({ f: name })", f"{layer}/{feature}")
            tab.wait_for_selector(f'#path[data-shown="{layer}/{feature}"]')
            marks = tab.locator("#contexts mark").all_text_contents()
            assert marks == ([] if (layer, feature) in DEAD else [f"mark{layer}x{feature}"] * 2)


def test_contexts_mark_the_token_and_say_where_they_are_from(tab):
    open_feature(tab, "4/1")
    first = tab.locator("#contexts li").first
    assert first.locator("p").first.text_content() == "the mark4x1↵ end"
    assert first.locator(".source").text_content() == "5 · prose, document 40"


def test_markup_in_a_description_is_text(tab):
    open_feature(tab, "1/3")
    assert tab.locator("#label").text_content() == NASTY
    assert tab.locator("#results .words").first.text_content() == NASTY
    assert tab.locator("main b, main i, main script").count() == 0


def test_a_feature_with_a_page_at_neuronpedia_links_to_it(tab):
    open_feature(tab, "2/2")
    link = tab.get_by_role("link", name="Neuronpedia")
    assert link.get_attribute("href") == "https://www.neuronpedia.org/model/2-res/2"
    assert link.get_attribute("rel") == "noopener noreferrer"
    open_feature(tab, "2/1")
    assert tab.get_by_role("link", name="Neuronpedia").count() == 0


def test_a_dead_feature_says_so(tab):
    open_feature(tab, "1/5")
    assert "never active on the evaluated text" in tab.locator("#summary").text_content()
    assert "never active" in tab.locator("#contexts").text_content()
    (row,) = [row for row in table(tab, "path-table") if row[0] == "1"]
    assert row[3:5] == ["0 %", DASH]


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


def test_the_best_match_is_a_whole_word_early_in_a_short_text(browser, tmp_path):
    labels = ["fires on old, new", "fires on new", "fires on newer", "else, at greater length, it fires on new", "", ""]
    layer = dataclasses.replace(made_up.layer_data(0), labels=labels)
    page = writing.write_explorer(explorer_data(layers=[layer], steps=[]), tmp_path)
    with watched(browser) as tab:
        show(tab, page)
        assert look_for(tab, "new") == ["0/1", "0/0", "0/3", "0/2"]
        tab.get_by_label("Order by").select_option("activity")
        wait_for_list(tab, ["0/3", "0/2", "0/1", "0/0"])


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


def test_a_browser_without_javascript_is_told_so(browser, report):
    with watched(browser, java_script_enabled=False) as tab:
        tab.goto(report.as_uri())
        assert "needs JavaScript" in tab.locator("noscript p").inner_text()
        assert not tab.locator("main").is_visible()


def test_a_page_without_its_folder_says_what_is_missing(browser, report, tmp_path):
    lonely = shutil.copytree(report.parent, tmp_path / "copy") / "report.html"
    (lonely.parent / "report" / "data" / "layer-2.js").unlink()
    tab = browser.new_page()
    tab.goto(lonely.as_uri())
    tab.get_by_text("report/data/layer-2.js cannot be read: the folder “report” must lie beside this page").wait_for()
    tab.close()


def test_the_page_cannot_reach_a_network_even_if_it_tried(browser, report):
    tab = browser.new_page()
    asked, failed = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("requestfailed", lambda request: failed.append((request.url, request.failure)))
    show(tab, report)
    refused = tab.evaluate("fetch('https://example.org/').then(() => 'answered', () => 'refused')")
    tab.evaluate("() => { const of = new Image(); of.src = 'https://example.org/a.png'; document.body.append(of); }")
    tab.wait_for_timeout(200)
    assert refused == "refused"
    # The image is seen to be asked for, and stopped by the page's own policy before anything is sent.
    assert failed == [("https://example.org/a.png", "csp")]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == ["https://example.org/a.png"]
    tab.close()


def test_a_browser_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "/no/such/browser")
    with pytest.raises(UserError, match=f"{VARIABLE}=/no/such/browser: there is no such file"):
        executable()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="apt-get install chromium"):
        executable()
