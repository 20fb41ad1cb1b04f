import math

import pytest
import torch

from sae_match import Matching, match
from sae_match.errors import UserError
from sae_match.matching.agreement import Chains, compare, priced
from sae_match.matching.settings import MatcherSettings


def matching(permutation, costs=None):
    costs = costs or [math.nan] * len(permutation)
    return Matching(torch.tensor(permutation), torch.tensor(costs, dtype=torch.float64))


def test_agreement_and_cost_ratio_can_be_counted_by_hand():
    composed = matching([1, 0, -1, 3], [2.0, 4.0, math.nan, 6.0])
    direct = matching([1, 2, 0, 3], [2.0, 1.0, 9.0, 3.0])
    found = compare(composed, direct)
    assert found.agreement == pytest.approx(2 / 3)
    assert found.cost_ratio == pytest.approx(12 / 6)
    assert found.features == 3


def test_a_matching_agrees_with_itself_and_pairs_of_no_cost_have_a_ratio():
    same = matching([1, 0], [0.0, 0.0])
    assert (compare(same, same).agreement, compare(same, same).cost_ratio) == (1.0, 1.0)
    assert compare(matching([0, 1], [1.0, 1.0]), same).cost_ratio == math.inf


def test_where_no_feature_has_a_partner_in_both_nothing_is_said():
    found = compare(matching([0, -1], [1.0, math.nan]), matching([-1, 0], [math.nan, 1.0]))
    assert found.features == 0
    assert math.isnan(found.agreement)
    assert math.isnan(found.cost_ratio)


def test_matchings_of_different_features_are_not_compared():
    with pytest.raises(UserError, match="matchings of 1 and of 2 features"):
        compare(matching([0]), matching([0, 1]))


@pytest.mark.parametrize(
    "settings",
    [MatcherSettings(), MatcherSettings(fold="none", terms={"W_dec": 2.0}), MatcherSettings(metric="cosine")],
    ids=["folded", "decoder", "cosine"],
)
def test_a_price_is_what_the_solver_pays(make_sae, settings):
    source, target = make_sae(0), make_sae(1)
    found = match(source, target, fold=settings.fold, terms=settings.terms, metric=settings.metric)
    again = priced(matching(found.permutation.tolist()), source, target, settings)
    assert torch.equal(again.pair_cost, found.pair_cost)
    assert again.lower_bound == -math.inf


def test_no_permutation_is_cheaper_than_the_matching(make_sae):
    source, target = make_sae(0), make_sae(1)
    found = match(source, target)
    for seed in range(20):
        other = torch.randperm(10, generator=torch.Generator().manual_seed(seed)).tolist()
        assert priced(matching(other), source, target, MatcherSettings()).cost >= found.cost


def test_features_without_a_partner_have_no_price(make_sae):
    found = priced(matching([0] + [-1] * 9), make_sae(0), make_sae(1), MatcherSettings())
    assert found.pair_cost.isnan().sum() == 9


def test_a_matching_of_other_saes_has_no_price(make_sae):
    with pytest.raises(UserError, match="leads to feature 9 does not go with SAEs of 10 and 4 features"):
        priced(matching(list(range(10))), make_sae(0), make_sae(1, d_sae=4), MatcherSettings())
    with pytest.raises(UserError, match="matching of 2 features"):
        priced(matching([0, 1]), make_sae(0), make_sae(1), MatcherSettings())
    with pytest.raises(UserError, match="width 6, the target of width 8"):
        priced(matching(list(range(10))), make_sae(0), make_sae(1, d_in=8), MatcherSettings())


def test_chains_follow_partners_of_partners_into_every_layer():
    chains = Chains()
    chains.extend((0, 1), matching([1, 2, 0]))
    chains.extend((1, 2), matching([2, 0, 1]))
    assert chains[0, 2].permutation.tolist() == [0, 1, 2]
    chains.extend((2, 5), matching([0, 2, -1]))
    assert [chains[start, 5].permutation.tolist() for start in (0, 1, 2)] == [[0, 2, -1], [-1, 0, 2], [0, 2, -1]]
    assert (0, 2) not in chains
    with pytest.raises(KeyError, match="no chain from layer 0 to layer 2; the last target is 5"):
        chains[0, 2]


def test_chains_have_no_holes():
    chains = Chains()
    chains.extend((0, 1), matching([0]))
    with pytest.raises(UserError, match="have reached layer 1, they cannot go on from 2"):
        chains.extend((2, 3), matching([0]))
