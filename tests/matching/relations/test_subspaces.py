from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from sae_match.errors import UserError
from sae_match.matching.relations.subspaces import common_space, leading_space, principal_angles
from tests.conftest import random_sae


def space(seed, d=12, dimension=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, dimension, generator=generator, dtype=torch.float64))[0]


def every(sae):
    return torch.ones(sae.d_sae, dtype=torch.bool)


@pytest.mark.parametrize("seed", range(4))
def test_principal_angles_are_scipys(seed):
    first, second = space(seed), space(seed + 100)
    expected = np.sort(subspace_angles(first.numpy(), second.numpy()))
    assert torch.allclose(principal_angles(first, second), torch.from_numpy(expected), atol=1e-10)


def test_small_angles_keep_their_digits():
    first = torch.eye(4, 2, dtype=torch.float64)
    second = torch.linalg.qr(first + 1e-9 * torch.eye(4, dtype=torch.float64)[:, 2:])[0]
    assert torch.allclose(principal_angles(first, second), torch.full((2,), 1e-9, dtype=torch.float64), rtol=1e-4)


def test_the_leading_space_is_that_of_the_singular_vectors():
    rows = torch.randn(30, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = np.linalg.svd(rows.numpy())[2][:2].T
    found = leading_space(rows, 2)
    assert np.allclose(subspace_angles(found.numpy(), expected), 0, atol=1e-7)


def test_random_features_have_no_more_in_common_than_random_ones():
    first, second = random_sae(0, 40, 80), random_sae(1, 40, 80)
    some = torch.arange(80) < 10
    found = common_space(first, second, some, some, draws=100)
    assert found.dimension == 10
    assert found.features == (10, 10)
    assert float(found.random.mean()) == pytest.approx(10 / 40, abs=0.03)
    assert min(found.p_random, found.p_drawn) > 0.01


def test_the_same_space_in_another_basis_is_seen_through():
    """Features of the two have nothing to do with one another but that they lie in the same ten dimensions."""
    basis = space(0, 40, 10).float()
    sides = []
    for seed in (1, 2):
        sae = random_sae(seed, 40, 80)
        W_dec = sae.W_dec.clone()
        W_dec[:30] = random_sae(seed + 10, 10, 30).W_dec @ basis.T
        sides.append(replace(sae, W_dec=W_dec))
    some = torch.arange(80) < 30
    found = common_space(*sides, some, some, draws=50)
    assert found.shared == pytest.approx(1, abs=1e-6)
    assert found.p_random == found.p_drawn == 1 / 51


def test_crowded_dictionaries_are_closer_than_random_spaces_and_not_than_their_own_features():
    scale = torch.arange(1, 41).pow(-0.7)
    sides = [replace(sae, W_dec=sae.W_dec * scale) for sae in (random_sae(0, 40, 200), random_sae(1, 40, 200))]
    some = torch.arange(200) < 20
    found = common_space(*sides, some, some, draws=50)
    assert found.p_random == 1 / 51
    assert found.p_drawn > 0.02


def test_what_spans_nothing_is_refused():
    first, second = random_sae(0, 8, 20), random_sae(1, 8, 20)
    one = torch.arange(20) < 1
    with pytest.raises(UserError, match="at least 2 features with directions, got 1 and 20"):
        common_space(first, second, one, every(second))
    with pytest.raises(UserError, match="20 and 20 features of width 8 span no space of 9 dimensions"):
        common_space(first, second, every(first), every(second), dimension=9)
    with pytest.raises(UserError, match="width 8, the second of width 9"):
        common_space(first, random_sae(1, 9, 20), every(first), every(second))
