import math
from itertools import pairwise

import pytest
import torch

from sae_match import Matching, compose, match
from sae_match.errors import UserError
from sae_match.matching.composition import Chains, compare, feature_paths, priced
from sae_match.matching.matching import MatcherSettings
from tests.conftest import random_sae


def matching(*permutation):
    return Matching(torch.tensor(permutation), torch.zeros(len(permutation), dtype=torch.float64))


def test_a_partners_partner_can_be_followed_by_hand():
    composed = compose(matching(1, 2, 0), matching(2, 0, 1))
    assert composed.permutation.tolist() == [0, 1, 2]
    assert math.isnan(composed.cost)


def test_a_path_that_ends_stays_ended():
    first, second = matching(1, -1, 0), matching(-1, 0, 1)
    assert compose(first, second).permutation.tolist() == [0, -1, -1]
    assert feature_paths([first, second]).tolist() == [[0, 1, 0], [1, -1, -1], [2, 0, -1]]


def test_what_is_not_one_to_one_can_be_composed_on_either_side():
    shared, single = Matching(torch.tensor([0, 0, 2]), torch.zeros(3).double(), one_to_one=False), matching(2, 0, 1)
    for first, second, expected in ((shared, single, [2, 2, 1]), (single, shared, [2, 0, 0])):
        found = compose(first, second)
        assert found.permutation.tolist() == expected
        assert not found.one_to_one
    assert compose(single, single).one_to_one
    assert feature_paths([shared, single]).tolist() == [[0, 0, 2], [1, 0, 2], [2, 2, 1]]


def test_composition_is_associative_and_has_the_identity():
    generator = torch.Generator().manual_seed(0)
    a, b, c = (matching(*torch.randperm(20, generator=generator).tolist()) for _ in range(3))
    left, right = compose(compose(a, b), c), compose(a, compose(b, c))
    assert torch.equal(left.permutation, right.permutation)
    assert torch.equal(compose(a, matching(*range(20))).permutation, a.permutation)


def test_matchings_of_permuted_copies_compose_to_the_direct_matching(make_sae):
    saes = [make_sae(0, d_in=32, d_sae=50)]
    for seed in (1, 2):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
        last = saes[-1]
        saes.append(
            type(last)(last.W_enc[:, order], last.b_enc[order], last.W_dec[order], last.b_dec, last.threshold[order])
        )
    composed = compose(match(saes[0], saes[1]), match(saes[1], saes[2]))
    assert torch.equal(composed.permutation, match(saes[0], saes[2]).permutation)
    assert composed.provenance["source"] == saes[0].content_hash()
    assert composed.provenance["target"] == saes[2].content_hash()


def test_matchings_that_do_not_join_are_refused(make_sae):
    with pytest.raises(UserError, match="leads to feature 3, the second starts from 2 features"):
        compose(matching(3), matching(0, 1))
    with pytest.raises(UserError, match="does not start from the SAE"):
        compose(match(make_sae(0), make_sae(1)), match(make_sae(2), make_sae(3)))
    with pytest.raises(UserError, match="at least one matching"):
        feature_paths([])


def priced_matching(permutation, costs=None):
    costs = costs or [math.nan] * len(permutation)
    return Matching(torch.tensor(permutation), torch.tensor(costs, dtype=torch.float64))


def test_agreement_and_cost_ratio_can_be_counted_by_hand():
    composed = priced_matching([1, 0, -1, 3], [2.0, 4.0, math.nan, 6.0])
    direct = priced_matching([1, 2, 0, 3], [2.0, 1.0, 9.0, 3.0])
    found = compare(composed, direct)
    assert found.agreement == pytest.approx(2 / 3)
    assert found.cost_ratio == pytest.approx(12 / 6)
    assert found.features == 3


def test_a_matching_agrees_with_itself_and_pairs_of_no_cost_have_a_ratio():
    same = priced_matching([1, 0], [0.0, 0.0])
    assert (compare(same, same).agreement, compare(same, same).cost_ratio) == (1.0, 1.0)
    assert compare(priced_matching([0, 1], [1.0, 1.0]), same).cost_ratio == math.inf


def test_where_no_feature_has_a_partner_in_both_nothing_is_said():
    found = compare(priced_matching([0, -1], [1.0, math.nan]), priced_matching([-1, 0], [math.nan, 1.0]))
    assert found.features == 0
    assert math.isnan(found.agreement)
    assert math.isnan(found.cost_ratio)


def test_matchings_of_different_features_are_not_compared():
    with pytest.raises(UserError, match="matchings of 1 and of 2 features"):
        compare(priced_matching([0]), priced_matching([0, 1]))


@pytest.mark.parametrize(
    "settings",
    [MatcherSettings(), MatcherSettings(fold="none", terms={"W_dec": 2.0}), MatcherSettings(metric="cosine")],
    ids=["folded", "decoder", "cosine"],
)
def test_a_price_is_what_the_solver_pays(make_sae, settings):
    source, target = make_sae(0), make_sae(1)
    found = match(source, target, fold=settings.fold, terms=settings.terms, metric=settings.metric)
    again = priced(priced_matching(found.permutation.tolist()), source, target, settings)
    assert torch.equal(again.pair_cost, found.pair_cost)
    assert again.lower_bound == -math.inf


def test_no_permutation_is_cheaper_than_the_matching(make_sae):
    source, target = make_sae(0), make_sae(1)
    found = match(source, target)
    for seed in range(20):
        other = torch.randperm(10, generator=torch.Generator().manual_seed(seed)).tolist()
        assert priced(priced_matching(other), source, target, MatcherSettings()).cost >= found.cost


def test_features_without_a_partner_have_no_price(make_sae):
    found = priced(priced_matching([0] + [-1] * 9), make_sae(0), make_sae(1), MatcherSettings())
    assert found.pair_cost.isnan().sum() == 9


def test_a_matching_of_other_saes_has_no_price(make_sae):
    with pytest.raises(UserError, match="leads to feature 9 does not go with SAEs of 10 and 4 features"):
        priced(priced_matching(list(range(10))), make_sae(0), make_sae(1, d_sae=4), MatcherSettings())
    with pytest.raises(UserError, match="matching of 2 features"):
        priced(priced_matching([0, 1]), make_sae(0), make_sae(1), MatcherSettings())
    with pytest.raises(UserError, match="width 6, the target of width 8"):
        priced(priced_matching(list(range(10))), make_sae(0), make_sae(1, d_in=8), MatcherSettings())


def test_chains_follow_partners_of_partners_into_every_layer():
    chains = Chains()
    chains.extend((0, 1), priced_matching([1, 2, 0]))
    chains.extend((1, 2), priced_matching([2, 0, 1]))
    assert chains[0, 2].permutation.tolist() == [0, 1, 2]
    chains.extend((2, 5), priced_matching([0, 2, -1]))
    assert [chains[start, 5].permutation.tolist() for start in (0, 1, 2)] == [[0, 2, -1], [-1, 0, 2], [0, 2, -1]]
    assert (0, 2) not in chains
    with pytest.raises(KeyError, match="no chain from layer 0 to layer 2; the last target is 5"):
        chains[0, 2]


def test_chains_have_no_holes():
    chains = Chains()
    chains.extend((0, 1), priced_matching([0]))
    with pytest.raises(UserError, match="have reached layer 1, they cannot go on from 2"):
        chains.extend((2, 3), priced_matching([0]))


def squared_distance(source, target, i, j):
    """Of the folded parameters of a pair, by the definition."""
    (a, s), (b, t) = ((sae, sae.threshold.double()) for sae in (source, target))
    parts = [
        a.W_enc[:, i].double() / s[i] - b.W_enc[:, j].double() / t[j],
        a.b_enc[i].double() / s[i] - b.b_enc[j].double() / t[j],
        a.W_dec[i].double() * s[i] - b.W_dec[j].double() * t[j],
    ]
    return sum(float((part**2).sum()) for part in parts)


@pytest.fixture(scope="module")
def four():
    """Four SAEs, and the matchings from each to the next."""
    saes = [random_sae(seed, d_sae=width) for seed, width in enumerate((6, 10, 10, 8))]
    return saes, [match(a, b) for a, b in pairwise(saes)]


def test_any_number_of_matchings_leads_to_the_partner_of_the_last_partner(four):
    _, links = four
    chain = compose(*links)
    for start in range(6):
        reached = start
        for link in links:
            reached = None if reached is None else link[reached]
        assert chain[start] == reached
    assert torch.equal(chain.permutation, compose(compose(links[0], links[1]), links[2]).permutation)
    assert chain.pair_cost.isnan().all()


def test_with_both_saes_composed_pairs_cost_what_their_own_parameters_are_apart(four):
    saes, links = four
    for chain in (
        compose(*links, source=saes[0], target=saes[3]),
        compose(compose(*links[:2]), links[2], source=saes[0], target=saes[3]),
    ):
        assert (chain.permutation >= 0).any()
        for i, j in enumerate(chain):
            cost = float(chain.pair_cost[i])
            assert math.isnan(cost) if j is None else cost == pytest.approx(squared_distance(saes[0], saes[3], i, j))
        assert chain.lower_bound == -math.inf
        assert chain.cost >= match(saes[0], saes[3]).lower_bound - 1e-9 or (chain.permutation < 0).any()


def test_costs_are_refused_where_it_is_not_known_of_what_or_how(four):
    saes, links = four
    with pytest.raises(UserError, match="takes both of its SAEs"):
        compose(*links, source=saes[0])
    with pytest.raises(UserError, match="the target is not the SAE that the matchings are of"):
        compose(*links, source=saes[0], target=saes[2])
    other = match(saes[1], saes[2], fold="none")
    with pytest.raises(UserError, match="found in different ways"):
        compose(links[0], other, source=saes[0], target=saes[2])
    told = compose(links[0], other, source=saes[0], target=saes[2], settings=MatcherSettings(fold="none"))
    again = priced(compose(links[0], other), saes[0], saes[2], MatcherSettings(fold="none"))
    assert torch.equal(told.pair_cost, again.pair_cost)
    with pytest.raises(UserError, match="does not say how it was found"):
        compose(matching(1, 0), matching(1, 0), source=saes[0], target=saes[0])
