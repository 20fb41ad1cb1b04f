import math

import numpy as np
import pytest
import torch

from sae_match import Matching, match
from sae_match.errors import UserError
from sae_match.matching.baselines import identity, nearest, random
from sae_match.matching.cost import feature_vectors
from tests.matching.problems import ALL, naive_costs


def test_identity_and_chance_are_permutations(make_sae):
    sae = make_sae(0, d_sae=200)
    assert torch.equal(identity(sae).permutation, torch.arange(200))
    assert sorted(random(sae, seed=1).permutation.tolist()) == list(range(200))
    assert torch.equal(random(sae, seed=1).permutation, random(sae, seed=1).permutation)
    assert not torch.equal(random(sae, seed=1).permutation, random(sae, seed=2).permutation)
    assert math.isnan(identity(sae).cost)


@pytest.mark.parametrize("metric", ["mse", "cosine"])
@pytest.mark.parametrize("d_target", [7, 40, 700])
def test_the_nearest_are_those_of_a_naive_loop(make_sae, d_target, metric):
    source, target = make_sae(0, d_sae=600), make_sae(1, d_sae=d_target)
    found = nearest(source, target, metric=metric)
    a, b = (feature_vectors(sae, fold="threshold", terms=ALL, metric=metric) for sae in (source, target))
    costs = naive_costs(a, b)
    assert np.array_equal(found.permutation, costs.argmin(1))
    assert np.allclose(found.pair_cost, costs.min(1).astype(float), rtol=1e-12)


@pytest.mark.parametrize("terms", [{"W_enc": 2.0}, ("W_dec", "b_enc")])
def test_no_matching_is_cheaper_than_the_nearest(make_sae, terms):
    source, target = make_sae(0, d_sae=50), make_sae(1, d_sae=60)
    one_to_one = match(source, target, terms=terms)
    assert nearest(source, target, terms=terms).cost < one_to_one.cost


def test_of_equal_features_all_go_to_one(make_sae, tmp_path):
    source = make_sae(0, d_sae=30)
    found = nearest(source, make_sae(1, d_sae=2))
    assert not found.one_to_one
    assert len(found.permutation.unique()) <= 2
    found.save(tmp_path / "m")
    assert torch.equal(Matching.load(tmp_path / "m").permutation, found.permutation)


def test_saes_that_do_not_fit_have_no_nearest(make_sae):
    with pytest.raises(UserError, match="width 6, the target of width 7"):
        nearest(make_sae(0), make_sae(1, d_in=7))
    sae = make_sae(0)
    sae.b_enc[2] = math.inf
    with pytest.raises(UserError, match="b_enc of feature 2 is not finite"):
        nearest(sae, make_sae(1))
