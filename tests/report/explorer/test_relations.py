"""Relations in the explorer: a feature's relatives, what hangs together between two layers, and what stands for it."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from sae_match.errors import UserError
from sae_match.evaluation.relations.overlap import Overlap, Shares
from sae_match.matching.relations.kinds import Components
from sae_match.matching.relations.result import Edges, Relations, RelationsEvidence
from sae_match.report.explorer.data import RelationsData
from sae_match.report.explorer.writing import write_explorer
from tests.report.explorer.made_up import explorer_data, received, unpacked
from tests.report.explorer.reader import DASH, open_feature, show, watched

# Between layers 0 and 1: feature 0 splits into three, 1 and 2 merge, 3 has a partner, 4 ends, and 5 took no part.
# Target feature 5 appears.
PAIRS = [(0, 0), (0, 1), (0, 2), (1, 3), (2, 3), (3, 4)]
NONE = float("nan")


def relations(pairs, n_source, n_target, source_p, target_p):
    source, target = (torch.tensor(side) for side in zip(*pairs, strict=True))
    statistic = torch.tensor([0.9 - 0.1 * edge for edge in range(len(pairs))], dtype=torch.float64)
    yes = torch.ones(len(pairs), dtype=torch.bool)
    matched = torch.tensor([edge % 2 == 1 for edge in range(len(pairs))])
    edges = Edges(source, target, statistic, statistic / 2, statistic / 100, statistic / 50, yes, yes, matched)
    evidence = RelationsEvidence("shape", "mean cosine", 8, 0, 0.05, 0.1, 100, 100, 0.1, 0.1, 0)
    return Relations(edges, Components.of(source, target, n_source, n_target), source_p, target_p, evidence)


def split():
    return relations(PAIRS, 6, 6, torch.tensor([0.0] * 5 + [NONE]).double(), torch.zeros(6, dtype=torch.float64))


def shares(values, tokens):
    value = torch.tensor(values, dtype=torch.float64)
    return Shares(value, value, value, value / 10, torch.full((len(values),), tokens))


def on_text(tokens=100):
    containment = shares([0.95, 0.75, 0.5, 0.25, 0.5, NONE], tokens)
    return Overlap(containment, shares([0.75, 0.5, NONE], 1000), {}, {}, 7)


def crowd():
    """One feature that splits into six."""
    return relations([(0, feature) for feature in range(6)], 6, 6, torch.zeros(6).double(), torch.zeros(6).double())


def data(**changes):
    given = [
        RelationsData(0, 1, split(), {"prose": on_text(), "code": on_text(9)}),
        RelationsData(2, 4, crowd(), {}),
    ]
    return explorer_data(**{"relations": given, **changes})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_explorer(data(), tmp_path_factory.mktemp("relations"))


def test_a_pair_s_chunk_holds_edges_shares_and_kinds(page):
    chunks = page.parent / "report" / "data"
    about = received(chunks / "index.js")["relations"]
    assert [(one["source"], one["target"], one["edges"], one["components"]) for one in about] == [
        (0, 1, 6, 3),
        (2, 3, 6, 1),
    ]
    assert about[0]["datasets"] == ["prose", "code"]
    assert dict(about[0]["counts"])["split"] == 1
    packed = unpacked(chunks / "relations-0.js")
    source, target, component = np.frombuffer(packed, "<i4", 18).reshape(3, 6).tolist()
    assert list(zip(source, target, strict=True)) == PAIRS
    assert component == [0, 0, 0, 1, 1, 2]
    statistic, whitened, _, containment, control = np.frombuffer(packed, "<f4", 30, 72).reshape(5, 6)
    assert whitened == pytest.approx(statistic / 2)
    assert statistic == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert containment == pytest.approx([0.95, 0.75, 0.5, 0.25, 0.5, math.nan], nan_ok=True)
    assert control == pytest.approx(containment / 10, nan_ok=True)
    assert np.frombuffer(packed, "<u4", 6, 192).tolist() == [100] * 6
    assert list(packed[-21:]) == [0, 1, 0, 1, 0, 1, 1, 2, 0, 1, 2, 2, 0, 5, 6, 1, 1, 1, 2, 0, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_layer": 5}, "relations of layer 5 to layer 1: of 6 and 6 features, the layers have 3 and 6"),
        ({"target_layer": 3}, "relations of layer 0 to layer 3: layers are"),
        ({"relations": crowd()}, "6 edges and 3 components measured on prose, there are 6 and 1"),
    ],
)
def test_relations_of_others_are_refused(tmp_path, changes, message):
    given = dataclasses.replace(data().relations[0], **changes)
    with pytest.raises(UserError, match=message):
        write_explorer(data(relations=[given]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def relatives(tab):
    return [row.locator("th, td").all_text_contents() for row in tab.locator("#relatives-shown tbody tr").all()]


def wait_for_relatives(tab, name):
    open_feature(tab, name)
    tab.wait_for_selector(f'#relatives[data-filled="{name}"]')
    return relatives(tab)


def test_a_feature_has_its_parents_children_and_siblings(browser, page, size):
    with watched(browser, size) as tab:
        show(tab, page)
        # A split: three children, the surest first, with what of each lies in the parent; nine tokens are no share.
        rows = wait_for_relatives(tab, "0/0")
        assert [row[:2] for row in rows] == [["child", "1/0"], ["child", "1/1"], ["child", "1/2"]]
        assert rows[0][2:] == [
            "words about topic0 in layer 1",
            "0.900",
            "0.450",
            "0.018",
            "95 %",
            "9.5 %",
            "9 of 9",
            "9.5 %",
            "no",
        ]
        assert rows[1][-1] == "yes"
        assert "To layer 1: split. 3 relatives at a level of 5 %" in tab.locator("#relatives-shown").inner_text()
        assert tab.locator("#relatives-cards mark").all_text_contents() == [f"mark1x{of}" for of in (0, 0, 1, 1, 2, 2)]
        # A child: its parent, and those beside it, which have no edge with it.
        rows = wait_for_relatives(tab, "1/1")
        assert [row[:2] for row in rows] == [["parent", "0/0"], ["sibling", "1/0"], ["sibling", "1/2"]]
        assert rows[1][3:] == [DASH] * 8
        # Of a merge the parent is the target.
        assert [row[:2] for row in wait_for_relatives(tab, "0/1")] == [["parent", "1/3"], ["sibling", "0/2"]]
        assert [row[:2] for row in wait_for_relatives(tab, "1/3")] == [["child", "0/1"], ["child", "0/2"]]
        assert [row[:2] for row in wait_for_relatives(tab, "0/3")] == [["partner", "1/4"]]
        for name, said in (("0/4", "end. No feature there"), ("1/5", "appear. No feature before"), ("0/5", "no part")):
            assert wait_for_relatives(tab, name) == []
            assert said in tab.locator("#relatives-shown").inner_text()
        # Layer 5 was compared with none.
        open_feature(tab, "5/1")
        assert not tab.locator("#relatives").is_visible()
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_components_are_listed_filtered_ordered_and_drawn(browser, page, size):
    with watched(browser, size) as tab:
        show(tab, page)
        assert "2 pairs of layers" in tab.locator("#components-told").text_content()
        tab.get_by_role("heading", name="What splits").click()
        tab.locator("#components-list li").first.wait_for()
        assert "1 split, 1 merge, 1 appear, 1 end" in tab.locator("#components-counts").text_content()
        listed = tab.locator("#components-list li")
        assert [text.split(",")[0] for text in listed.all_text_contents()] == [
            "split of 0/0: 1 → 3 features",
            "merge of 0/1: 2 → 1 features",
            "one to one of 0/3: 1 → 1 features",
        ]
        tab.get_by_label("First the").select_option("surest")
        tab.wait_for_function("location.hash.includes('surest')")
        assert [text[-5:] for text in listed.all_text_contents()] == ["0.350", "0.250", "0.200"]
        tab.get_by_label("Kind").select_option("merges")
        tab.get_by_text("1 component", exact=True).wait_for()
        listed.first.get_by_role("button").click()
        tab.locator(".drawing").wait_for()
        assert tab.locator(".drawing .side").nth(0).get_by_role("button").all_text_contents() == ["0/1", "0/2"]
        assert tab.locator(".drawing .side").nth(1).get_by_role("button").all_text_contents() == ["1/3"]
        assert tab.locator(".drawing path").count() == 2
        assert "have a child (at random 5 %)" in tab.locator("#component-drawing").text_content()
        assert tab.evaluate("location.hash") == "#rel=0&relkind=2&relsort=surest&comp=1"
        tab.get_by_label("Kind").select_option("features that appear")
        tab.get_by_text("1 feature", exact=False).first.wait_for()
        tab.locator("#components-list").get_by_role("button", name="Open feature 1/5").click()
        tab.wait_for_selector('#path[data-shown="1/5"]')
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_component_of_too_many_features_is_told_of_and_not_drawn(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("sae_match.report.explorer.relations.MOST_DRAWN", 4)
    with watched(browser) as tab:
        show(tab, write_explorer(data(), tmp_path), "#rel=1&comp=0")
        tab.get_by_text("split of 7 features, 6 edges").wait_for()
        assert "More than 4 features are told of" in tab.locator("#component-drawing").text_content()
        assert tab.locator(".drawing").count() == 0
        assert "7 features: too many to draw" in tab.locator("#components-list").text_content()


def test_a_page_without_relations_says_nothing_of_them(browser, report):
    with watched(browser) as tab:
        show(tab, report, "#rel=0&comp=1")
        open_feature(tab, "0/0")
        assert not tab.locator("#components").is_visible()
        assert not tab.locator("#relatives").is_visible()
