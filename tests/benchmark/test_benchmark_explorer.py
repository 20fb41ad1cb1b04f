"""The benchmark of the explorer, on few features."""

import pytest

from sae_match.benchmark import explorer
from sae_match.benchmark.browser import executable
from sae_match.benchmark.measuring import chosen
from sae_match.errors import UserError


def test_the_case_is_chosen_by_name():
    assert list(chosen(explorer.cases(), {}, ["explorer"])) == ["explorer"]


def test_made_up_layers_are_the_same_each_time():
    one, other = (explorer.made_up(3, 64) for _ in range(2))
    for left, right in zip(one.layers, other.layers, strict=True):
        assert left.active.equal(right.active)
        assert list(left.labels) == list(right.labels)
        assert left.contexts(1) == right.contexts(1)
    assert all(left.permutation.equal(right.permutation) for left, right in zip(one.steps, other.steps, strict=True))
    assert any(not left.active.all() for left in one.layers)


def test_a_small_page_is_measured_at_both_sizes(monkeypatch):
    try:
        executable()
    except UserError as error:
        pytest.fail(str(error))
    monkeypatch.setattr(explorer, "_PATHS", 3)
    monkeypatch.setattr(explorer, "_SEARCHES", 3)
    figures = explorer.explorer(3, 64)
    writing, size, *times = figures
    assert writing.unit == "s"
    assert size.reached
    assert len(times) == 10
    assert all(0 < figure.value < 5 for figure in times)
