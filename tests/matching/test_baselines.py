import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from sae_match import Matching, match
from sae_match.errors import UserError
from sae_match.matching.baselines import (
    coactivations,
    identity,
    match_by_coactivation,
    nearest,
    random,
    rotated,
)
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


def test_rotation_keeps_the_dictionary_and_loses_its_direction(make_sae):
    sae = make_sae(0, d_in=64, d_sae=30)
    turned = rotated(sae, seed=1)
    assert torch.allclose(turned.W_dec @ turned.W_dec.T, sae.W_dec @ sae.W_dec.T, atol=1e-3)
    assert torch.allclose(turned.W_dec @ turned.W_enc, sae.W_dec @ sae.W_enc, atol=1e-3)
    cosines = torch.nn.functional.cosine_similarity(turned.W_dec, sae.W_dec)
    assert cosines.abs().mean() < 0.3


def test_rotation_is_an_equivariance_of_the_matching(make_sae):
    a, b = make_sae(0, d_in=16, d_sae=30), make_sae(1, d_in=16, d_sae=30)
    assert torch.equal(match(a, b).permutation, match(rotated(a, 5), rotated(b, 5)).permutation)


def random_counts(seed, n_source, n_target, density, largest):
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, largest + 1, (n_source, n_target))
    return (counts * (generator.random((n_source, n_target)) < density)).astype(np.int32)


def matched(counts):
    return match_by_coactivation(csr_array(counts))


def heaviest(counts):
    return counts[linear_sum_assignment(counts, maximize=True)].sum()


def naive_coactivations(source, target):
    counts = np.zeros((source.shape[1], target.shape[1]), dtype=int)
    for token in range(len(source)):
        for i in np.flatnonzero(source[token]):
            for j in np.flatnonzero(target[token]):
                counts[i, j] += 1
    return counts


@pytest.mark.parametrize("shape", [(40, 8, 8), (60, 5, 9), (60, 9, 5), (1, 3, 4)])
def test_counts_are_those_of_a_naive_loop(shape):
    tokens, n_source, n_target = shape
    generator = np.random.default_rng(tokens)
    source, target = (generator.random((tokens, n)) < 0.3 for n in (n_source, n_target))
    source[:, 0] = target[:, -1] = False
    counts = coactivations(csr_array(source.astype(np.int32)), csr_array(target.astype(np.int32)))
    assert counts.dtype == np.int32
    assert counts.has_sorted_indices
    assert np.array_equal(counts.toarray(), naive_coactivations(source, target))


def test_counts_do_not_overflow_a_narrow_dtype():
    always = csr_array(np.ones((300, 1), dtype=np.int8))
    assert coactivations(always, always).toarray().item() == 300


def test_activity_on_other_tokens_cannot_be_joined():
    with pytest.raises(UserError, match="activity on 3 and on 4 tokens cannot be joined"):
        coactivations(csr_array(np.ones((3, 2), np.int32)), csr_array(np.ones((4, 2), np.int32)))


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (5, 12), (12, 5), (40, 40), (60, 35), (35, 60)])
@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("largest", [1, 4, 10_000])
def test_the_matching_is_as_heavy_as_scipys(shape, density, largest):
    for seed in range(4):
        counts = random_counts(seed, *shape, density, largest)
        found = matched(counts)
        paired = (found.permutation >= 0).numpy()
        partners = found.permutation[paired].numpy()
        assert counts[paired, partners].sum() == heaviest(counts)
        assert np.array_equal(found.pair_cost[paired].numpy(), -counts[paired, partners])
        assert found.pair_cost[~paired].isnan().all()
        assert len(set(partners.tolist())) == len(partners) == min(shape)
        assert found.one_to_one


def test_larger_problems_agree_as_well():
    for seed, shape in enumerate([(400, 400), (300, 450), (450, 300)]):
        counts = random_counts(seed, *shape, 0.02, 1000)
        assert -matched(counts).cost == heaviest(counts)


def test_a_feature_and_its_copy_are_found_together():
    generator = np.random.default_rng(0)
    source = generator.random((500, 30)) < generator.uniform(0.02, 0.3, 30)
    order = generator.permutation(30)
    target = np.zeros_like(source)
    target[:, order] = source
    activity = (csr_array(side.astype(np.int32)) for side in (source, target))
    found = match_by_coactivation(coactivations(*activity))
    assert found.permutation.tolist() == order.tolist()
    assert -found.cost == source.sum()


def test_a_light_pair_gives_way_where_two_others_weigh_more():
    found = matched(np.array([[5, 4], [4, 0]], dtype=np.int32))
    assert found.permutation.tolist() == [1, 0]
    assert found.pair_cost.tolist() == [-4, -4]
    found = matched(np.array([[9, 4], [4, 0]], dtype=np.int32))
    assert found.permutation.tolist() == [0, 1]
    assert found.pair_cost.tolist() == [-9, 0]


def test_features_that_never_fire_are_matched_in_order():
    counts = np.zeros((4, 4), dtype=np.int32)
    assert matched(counts).permutation.tolist() == [0, 1, 2, 3]
    counts[1, 3] = 2
    found = matched(counts)
    assert found.permutation.tolist() == [0, 3, 1, 2]
    assert found.pair_cost.tolist() == [0, -2, 0, 0]


def test_with_too_few_targets_the_last_that_never_fire_have_none():
    found = matched(np.array([[0, 0], [0, 0], [0, 7]], dtype=np.int32))
    assert found.permutation.tolist() == [0, -1, 1]
    assert found.pair_cost.isnan().tolist() == [False, True, False]
    assert found.cost == -7
