import pytest

from sae_match.benchmark.relations.on_bundled import bundled_relations
from tests.conftest import unchecked

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found():
    with unchecked():
        figures = bundled_relations(4, layers=3)
    return {(figure.case, figure.what.split(" (")[0]): figure.value for figure in figures}


def test_relatives_of_the_bundled_saes_are_active_together(found):
    for case in ("neighbours, prose", "two seeds, layer 3, prose"):
        for kind in ("one_to_one", "split", "merge"):
            assert found[case, f"containment_{kind}"] > 3 * found[case, f"containment_{kind}_control"]


def test_what_has_no_relative_is_new_more_often_than_what_has_one(found):
    case = "two seeds, layer 4, code"
    assert found[case, "new_appear"] > 2 * found[case, "new_one_to_one"]


def test_most_features_are_found_again_by_another_seed(found):
    assert 0.8 < found["two seeds, layer 3", "share of seeds that have a feature"] < 0.95


def test_every_feature_belongs_to_one_life(found):
    case = "layers 0 to 2"
    assert found[case, "lives"] * found[case, "layers of a life, mean"] == pytest.approx(3 * 1024)
    for name in ("begin", "end"):
        shares = [value for (of, what), value in found.items() if of == case and f"that {name} so" in what]
        assert sum(shares) == pytest.approx(1)
