"""The explorer in a real Chromium, from disk: what it shows."""

import dataclasses
import shutil

import pytest
import torch

from sae_match.benchmark.browser import VARIABLE, executable
from sae_match.errors import UserError
from sae_match.report.explorer.writing import write_explorer
from tests.report.explorer.made_up import DEAD, NASTY, WIDTHS, explorer_data, layer_data, step_data
from tests.report.explorer.reader import DASH, flow_expected, open_feature, show, table, watched

FEATURES = sum(WIDTHS.values())


def test_the_first_view_says_what_it_is_and_shows_the_flow(browser, report, size):
    with watched(browser, size) as tab:
        show(tab, report, unfolded=False)
        assert tab.get_by_role("heading", level=1).text_content() == "Model <i>one</i>"
        assert "0\N{EN DASH}2, 4\N{EN DASH}5" in tab.locator("#facts").text_content()
        assert NASTY in tab.locator("#facts").text_content()
        assert table(tab, "flow-table") == flow_expected(0.7)
        assert not tab.get_by_label("Order by").is_visible()
        # Nothing that has no size is drawn.
        assert tab.locator("#flow-chart svg").count() == 0
        assert "of 16 live features with a layer after theirs" in tab.locator("#flow-told").text_content()
        tab.get_by_role("heading", name="The flow over layers").click()
        tab.locator("#flow-chart svg").wait_for()
        assert tab.evaluate("location.hash") == "#flow=open"
        assert "carry on" in tab.locator("#flow-chart").get_attribute("aria-label")
        assert tab.locator("#count").text_content() == f"{FEATURES} features"
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("given", [0, 1, 3])
def test_warnings_stand_at_the_top_and_are_folded_up_where_they_are_many(browser, size, tmp_path, given):
    warnings = [(f"Found {number} {NASTY}.", f"Do {number}.") for number in range(given)]
    page = write_explorer(explorer_data(warnings=warnings), tmp_path)
    with watched(browser, size) as tab:
        show(tab, page)
        assert tab.locator("#warnings").is_visible() == (given > 0)
        assert tab.locator("#warnings li").all_text_contents() == [" ".join(warning) for warning in warnings]
        if not given:
            return
        assert tab.locator("#warnings-list").is_visible() == (given <= 2)
        title = tab.locator("#warnings-title")
        assert title.text_content() == ("A warning" if given == 1 else f"{given} warnings")
        if given > 2:
            title.click()
            assert tab.locator("#warnings-list").is_visible()
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert tab.evaluate("document.querySelector('main').firstElementChild.id") == "warnings"


def test_another_cut_redraws_the_flow(tab):
    tab.get_by_label("Decoder cosine at least").fill("0.85")
    tab.get_by_text("at least 0.85 with its own").wait_for()
    assert table(tab, "flow-table") == flow_expected(0.85)
    assert tab.evaluate("location.hash") == "#cosine=0.85"
    tab.get_by_label("and cost at most").fill("0.1")
    tab.get_by_text("costs at most 0.1").wait_for()
    assert [row[4] for row in table(tab, "flow-table")] == ["0", "0", "0", DASH, DASH]


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


def test_at_first_the_feature_that_is_carried_furthest_is_open_on_the_first_screen(browser, report, size):
    with watched(browser, size) as tab:
        show(tab, report, unfolded=False)
        # By a cosine of 0.7 features 1/3, 2/5 and 4/5 are one, and no other path is as long.
        assert tab.locator("#path").get_attribute("data-shown") == "1/3"
        assert tab.evaluate("location.hash") == ""
        assert "carried through the most layers" in tab.locator("#path-empty").text_content()
        assert tab.locator("#results li[aria-selected=true] .feature").text_content() == "1/3"
        cards = tab.locator("#side li")
        assert [card.get_attribute("data-fate") for card in cards.all()] == ["start", "ends", "carries", "carries"]
        assert cards.locator("mark").all_text_contents() == [
            f"mark{of}" for of in ("0x2", "1x3", "2x5", "4x5") for _ in "ab"
        ]
        assert cards.nth(1).get_attribute("aria-current") == "true"
        if size == "wide":
            bottom = tab.locator("#side").bounding_box()
            assert bottom["y"] + bottom["height"] < 900
            assert tab.locator("#results").bounding_box()["y"] < 450
        cards.nth(2).get_by_role("button").click()
        tab.wait_for_selector('#path[data-shown="2/5"]')
        assert not tab.locator("#path-empty").is_visible()


def test_shares_of_few_tokens_are_counts(browser, tmp_path):
    counts = torch.tensor([3, 1, 0, 24, 25, 900])
    first = dataclasses.replace(layer_data(0), active=counts)
    step = dataclasses.replace(step_data(0, 1), both=torch.tensor([1, 0, 0, 8, 10, 90]))
    with watched(browser) as tab:
        show(tab, write_explorer(explorer_data(layers=[first, layer_data(1)], steps=[step]), tmp_path), "#f=0/0")
        assert [row[3] for row in table(tab, "path-table")] == ["3 tokens", "20.1 %"]
        # Of the source's three tokens; of 3 + 201 - 1 with either.
        assert table(tab, "path-table")[1][9:11] == ["1 of 3", "0.005"]
        tab.wait_for_selector('#path[data-shown="0/0"]')
        open_feature(tab, "0/1")
        assert "Active on 1 of 1,000 tokens, on average" in tab.locator("#summary").text_content()
        assert tab.locator("#side li").first.locator(".of span").text_content() == "1 token"
        assert table(tab, "path-table")[1][9] == "0 of 1"
        open_feature(tab, "0/4")
        assert table(tab, "path-table")[0][3] == "2.5 %"


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


@pytest.mark.parametrize(
    "gone", ["", "page", "vendor", "page/style.css page/main.js", "page/main.js", "page/core.js", "page/path.js"]
)
def test_a_page_that_cannot_start_says_what_is_missing(browser, report, tmp_path, gone):
    lonely = shutil.copytree(report.parent, tmp_path / "copy") / "report.html"
    for name in gone.split() or [""]:
        place = lonely.parent / "report" / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    tab = browser.new_page()
    tab.goto(lonely.as_uri())
    tab.get_by_text("shows nothing without the folder “report” beside it").wait_for(state="visible")
    assert "Reading the data" not in tab.inner_text("body")
    assert not tab.locator("main").is_visible()
    tab.close()


def test_a_page_that_starts_says_nothing_of_the_kind(tab):
    assert not tab.locator("#missing").is_visible()


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
