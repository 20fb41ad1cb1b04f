"""The benchmark of the explorer, on few features."""

import math

import pytest

from sae_match.benchmark import explorer
from sae_match.benchmark.browser import executable
from sae_match.benchmark.measuring import chosen
from sae_match.errors import UserError


@pytest.mark.parametrize("name", ["explorer", "explorer-relations"])
def test_a_case_is_chosen_by_name(name):
    assert list(chosen(explorer.cases(), {}, [name])) == [name]


def test_made_up_layers_are_the_same_each_time():
    one, other = (explorer.made_up(3, 64) for _ in range(2))
    for left, right in zip(one.layers, other.layers, strict=True):
        assert left.active.equal(right.active)
        assert list(left.labels) == list(right.labels)
        assert left.contexts(1) == right.contexts(1)
    assert all(left.permutation.equal(right.permutation) for left, right in zip(one.steps, other.steps, strict=True))
    assert any(not left.active.all() for left in one.layers)


def test_made_up_relations_hang_together_and_are_the_same_each_time():
    one, other = (explorer.made_up_of_two(64, 256).relations[0].relations for _ in range(2))
    assert one.edges.source.equal(other.edges.source)
    assert one.edges.target.equal(other.edges.target)
    assert one.counts == other.counts
    assert one.counts["split"] > 10
    assert one.counts["appear"] > 10


@pytest.fixture
def few(monkeypatch):
    try:
        executable()
    except UserError as error:
        pytest.fail(str(error))
    for name in ("_PATHS", "_SEARCHES", "_COMPONENTS"):
        monkeypatch.setattr(explorer, name, 3)


@pytest.mark.usefixtures("few")
def test_a_small_page_of_relations_is_measured_at_both_sizes():
    writing, size, *times = explorer.explorer_of_relations(64, 256)
    assert writing.unit == "s"
    assert size.reached
    assert len(times) == 12
    assert all(0 < figure.value < math.inf for figure in times)


@pytest.mark.usefixtures("few")
def test_a_small_page_is_measured_at_both_sizes():
    figures = explorer.explorer(3, 64)
    writing, size, *times = figures
    assert writing.unit == "s"
    assert size.reached
    assert len(times) == 10
    assert all(0 < figure.value < math.inf for figure in times)
