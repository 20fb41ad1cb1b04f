import math

import pytest

from sae_match.benchmark.relations.cases import by_strength, cases, cost, on_text, outcome
from sae_match.benchmark.relations.planted import Fates


def test_every_case_begins_with_its_groups_name():
    assert all(name.startswith("relations") for name in cases(1, 0))


@pytest.mark.parametrize("crowding", [0.35, 0.0])
def test_kinds_of_small_dictionaries_are_right(crowding):
    found = outcome(Fates.of(0.9, 256, crowding), 64, 0)
    assert found.right >= 0.9
    assert found.false <= 0.06
    assert found.strangers <= 0.06


def test_strangers_have_no_relatives():
    found = outcome(Fates.unrelated(256), 64, 0)
    assert found.right > 0.99
    assert found.low == pytest.approx(0.05, abs=0.03)


def test_weak_relatives_are_missed_and_said_to_be():
    figures = by_strength(1, 0, size=128, d_in=32)
    right = [figure for figure in figures if "kinds that are right" in figure.what]
    assert len(right) == 2 * 8
    assert right[0].reached is False
    assert right[-1].reached is True


def test_planted_activity_is_contained_and_covered_and_random_features_are_there_as_often_as_they_fire():
    found = {figure.what.split(" (")[0]: figure.value for figure in on_text(0, 256, 64)}
    for name in ("containment", "coverage"):
        assert found[f"{name}, split"] > 0.9
        assert found[f"{name}, merge"] > 0.9
        assert found[f"{name}, split, of random features"] < 0.1


def test_a_cost_is_a_ratio_of_times():
    ratio, memory, share = cost(64, 96, 16, 0)
    assert "over match()" in ratio.what
    assert ratio.value > 0
    assert 0 < memory.value < 12
    assert 0 < share.value <= 1
    assert not math.isnan(ratio.reach)
