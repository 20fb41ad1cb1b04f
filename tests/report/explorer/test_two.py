"""A page of two collections: what is a layer elsewhere is a layer of one of them, by name."""

import dataclasses

import pytest

from sae_match.report.explorer import writing
from tests.report.explorer.made_up import explorer_data
from tests.report.explorer.reader import look_for, open_feature, show, wait_for_list, watched

# In place of layers 0, 1, 2, 4, 5: two layers of two collections, and one beside them.
NAMES = ("3@saes", "3@Seed_100", "4@saes", "4@Seed_100", "5@saes")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    data = explorer_data()
    layers = [dataclasses.replace(layer, name=name) for layer, name in zip(data.layers, NAMES, strict=True)]
    return writing.write_explorer(dataclasses.replace(data, layers=layers), tmp_path_factory.mktemp("run"))


@pytest.fixture
def page(browser, named):
    with watched(browser) as tab:
        yield show(tab, named)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("3@saes/3", ["3@saes/3"]),
        ("layer 3@seed_100, feature 2", ["3@Seed_100/2"]),
        ("4@SEED_100 5", ["4@Seed_100/5"]),
        ("topic4 words layer", ["3@saes/4", "3@Seed_100/4", "4@saes/4", "4@Seed_100/4"]),
    ],
)
def test_features_are_found_by_the_name_of_their_layer_and_collection(page, query, names):
    page.get_by_label("Order by").select_option("feature")
    assert look_for(page, query) == names


def test_the_search_says_how_features_are_called(page):
    assert "as in 3@saes/123 or 123" in page.locator("label[for=query]").text_content()


def test_a_layer_of_no_collection_is_not_there(page):
    look_for(page, "3@others/1")
    assert page.locator("#count").text_content() == "There is no feature 3@others/1 here."


def test_layers_are_chosen_by_name_and_stand_in_the_address(page):
    page.get_by_label("From layer").select_option(label="4@Seed_100")
    page.get_by_label("Order by").select_option("feature")
    wait_for_list(
        page, [f"4@Seed_100/{feature}" for feature in range(6)] + [f"5@saes/{feature}" for feature in range(3)]
    )
    assert "from=4%40Seed_100" in page.url


def test_a_path_leads_from_one_collection_to_the_other_and_a_link_shows_it_again(page, browser, named):
    open_feature(page, "3@saes/1")
    address = page.url
    assert "3%40saes/1" in address
    with watched(browser) as tab:
        show(tab, named, address[address.index("#") :])
        tab.wait_for_selector('#path[data-shown="3@saes/1"]')
        assert tab.locator("#path-title").text_content() == "Layer 3@saes, feature 1"
        assert "3@saes to" in tab.locator("#summary").text_content()
        assert "3@saes, 3@Seed_100, 4@saes, 4@Seed_100, 5@saes" in tab.locator("#facts").text_content()
