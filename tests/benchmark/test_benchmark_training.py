"""The benchmark of the training, on little text: what it measures must be there wherever it runs."""

import math

import pytest

from sae_match.benchmark import training


def test_cases_have_names():
    assert list(training.cases()) == ["collecting", "recipe"]


@pytest.mark.slow
def test_collecting_is_timed_beside_bare_passes(monkeypatch):
    monkeypatch.setattr(training, "_TOKENS", 2048)
    # With the larger model it takes minutes.
    monkeypatch.setattr(training, "find_spec", lambda _: None)
    (figure,) = training.collecting()
    assert 0 < figure.value < math.inf
