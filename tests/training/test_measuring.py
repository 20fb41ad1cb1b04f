"""Measures that one can take in one's head; `test_sae_recipe` compares them with a whole training."""

import pytest
import torch

from sae_match.training.measuring import Measured
from tests.training.made_up import X, doubling


def test_l0_explained_variance_and_dead_features_of_four_tokens():
    found = Measured.of(doubling(), X)
    assert found.l0 == 0.75
    assert found.dead == 1
    # Of all that varies only the quarter is lost, on one of the tokens.
    lost = torch.tensor([0.0, 0.0, 0.25, 0.0]).var(correction=0)
    assert found.explained_variance == pytest.approx((1 - lost / X.var(0, correction=0).sum()).item())


def test_parts_add_up():
    whole, parts = Measured.of(doubling(), X), Measured.of(doubling(), X[:1]) + Measured.of(doubling(), X[1:])
    assert (parts.l0, parts.dead) == (whole.l0, whole.dead)
    assert parts.explained_variance == pytest.approx(whole.explained_variance)


def test_a_dimension_with_most_of_the_variance_does_not_own_the_mean_over_dimensions():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).abs() + torch.tensor([1.0, 0.0])
    x[:, 0] *= 100
    found = Measured.of(doubling(), x)
    own = [1 - float((doubling()(x) - x)[:, d].var() / x[:, d].var()) for d in (0, 1)]
    assert found.explained_variance > 0.999 > own[1]
    assert found.explained_variance_by_dimension == pytest.approx(sum(own) / 2, abs=1e-6)
    assert found.largest_dimension > 0.99


def test_extreme_tokens_are_counted_and_left_out_of_one_number():
    x = torch.cat([X, torch.tensor([[-500.0, 0.0]])])
    found, without = Measured.of(doubling(), x, longest=10.0), Measured.of(doubling(), X)
    assert (found.extreme, without.extreme) == (1, 0)
    usual = found.explained_variance_by_dimension_usual
    assert usual == pytest.approx(without.explained_variance_by_dimension)
    assert found.explained_variance_by_dimension < usual


def test_what_the_next_block_reads_is_measured_behind_its_norm():
    found = Measured.of(doubling(), X, norm=lambda x: 2 * x)
    assert found.explained_variance_normed == pytest.approx(found.explained_variance)
    assert Measured.of(doubling(), X).normed is None
