import math

import pytest
import torch

from sae_match import Matching, fold_decoder_norm, fold_threshold, match
from sae_match.errors import UserError
from sae_match.evaluation.transport import ActiveValues, Transport, cheapest, reconstructed


def matching(permutation, costs=None, one_to_one=True):
    costs = [0.0] * len(permutation) if costs is None else costs
    return Matching(torch.tensor(permutation), torch.tensor(costs, dtype=torch.float64), one_to_one=one_to_one)


def sent(f, permutation, n_target):
    """Eq. 5 word by word: feature i is sent to permutation[i]; values that meet are added."""
    sent = torch.zeros(len(f), n_target, dtype=f.dtype)
    for i, j in enumerate(permutation.tolist()):
        if j >= 0:
            sent[:, j] += f[:, i]
    return sent


def carried(transport, f, n_target):
    """Values of every target feature; those that meet are added."""
    values = transport(ActiveValues.of(f))
    token = torch.arange(len(f)).repeat_interleave(values.starts.diff())
    return f.new_zeros(len(f), n_target).index_put_((token, values.feature), values.value, accumulate=True)


@pytest.fixture
def x():
    return torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 2


@pytest.fixture
def case(make_sae, x):
    source, target = make_sae(0, dtype=torch.float64), make_sae(1, dtype=torch.float64)
    return source, target, source.encode(x)


@pytest.mark.parametrize(("fold", "folded"), [("threshold", fold_threshold), ("decoder_norm", fold_decoder_norm)])
@pytest.mark.parametrize("broken", [[], [0, 3]])
def test_values_are_carried_as_between_folded_saes(case, x, fold, folded, broken):
    source, target, f = case
    found = match(source, target)
    permutation = found.permutation.clone()
    permutation[broken] = -1
    transport = Transport.between(source, target, Matching(permutation, found.pair_cost), fold)
    expected = folded(target).decode(sent(folded(source).encode(x), permutation, 10))
    assert torch.allclose(target.decode(carried(transport, f, 10)), expected, rtol=1e-10, atol=1e-10)


def test_without_folding_values_are_carried_as_they_are(case):
    source, target, f = case
    identity = Transport.between(source, target, matching(list(range(10))), "none")
    assert torch.equal(carried(identity, f, 10), f)


def test_an_sae_matched_to_itself_keeps_its_values(case):
    source, _, f = case
    transport = Transport.between(source, source, match(source, source), "threshold")
    assert torch.allclose(carried(transport, f, 10), f)


def test_values_that_meet_add_up(make_sae):
    source, target = make_sae(0, d_sae=3), make_sae(1, d_sae=2)
    transport = Transport.between(source, target, matching([1, 1, -1], one_to_one=False), "none")
    assert carried(transport, torch.tensor([[2.0, 3.0, 5.0], [0.0, 1.0, 9.0]]), 2).tolist() == [[0, 5], [0, 1]]


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_a_token_is_the_sum_of_its_features_rows(share):
    generator = torch.Generator().manual_seed(3)
    f = torch.rand(40, 30, dtype=torch.float64, generator=generator)
    f *= torch.rand(40, 30, generator=generator) < share
    f[7] = 0
    rows = torch.randn(30, 5, dtype=torch.float64, generator=generator)
    values = ActiveValues.of(f)
    assert torch.allclose(values.through(rows), f @ rows)
    factor = torch.arange(30) % 3
    assert torch.allclose(values.times(factor).through(rows), (f * factor) @ rows)
    assert torch.allclose(values.times(factor > 0).through(rows), (f * (factor > 0)) @ rows)


def test_nothing_is_the_sum_over_no_token():
    assert ActiveValues.of(torch.zeros(0, 4)).through(torch.ones(4, 3)).shape == (0, 3)


def test_a_reconstruction_is_the_sae_s(make_sae, x):
    sae = make_sae(0, dtype=torch.float64)
    assert torch.allclose(reconstructed(sae, x), sae(x))


def test_only_some_features_are_carried(case):
    source, target, f = case
    transport = Transport.between(source, target, match(source, target), "threshold")
    chosen = torch.arange(10) % 3 == 0
    assert torch.equal(carried(transport.only(chosen), f, 10), carried(transport, f * chosen, 10))
    assert torch.equal(carried(transport.only(~torch.zeros(10).bool()), f, 10), carried(transport, f, 10))
    assert not carried(transport.only(torch.zeros(10).bool()), f, 10).any()


def test_scales_too_far_apart_to_carry_values_are_named(make_sae):
    source, target = make_sae(0), make_sae(1)
    source.threshold[4] = 1e-45
    with pytest.raises(UserError, match="source feature 4 cannot be carried to target feature 4: the ratio"):
        Transport.between(source, target, matching(list(range(10))), "threshold")
    without = matching([0, 1, 2, 3, -1, 5, 6, 7, 8, 9])
    assert Transport.between(source, target, without, "threshold").factor[4] == 0


@pytest.mark.parametrize(
    ("quantile", "kept"),
    [(0.0, []), (0.2, [3]), (0.4, [1, 3]), (0.6, [1, 3, 4]), (0.8, [0, 1, 3, 4]), (1.0, [0, 1, 2, 3, 4])],
)
def test_the_cheapest_by_hand(quantile, kept):
    found = cheapest(matching([0, 1, 2, 3, 4], [4.0, 2.0, 5.0, 1.0, 3.0]), quantile)
    assert found.nonzero().flatten().tolist() == kept


def test_equal_costs_stay_together():
    found = cheapest(matching([0, 1, 2, 3], [1.0, 7.0, 1.0, 1.0]), 0.25)
    assert found.tolist() == [True, False, True, True]


@pytest.mark.parametrize("quantile", [0.0, 0.5, 1.0])
def test_a_feature_without_a_partner_is_never_cheap(quantile):
    found = cheapest(matching([0, -1, 2, -1], [2.0, math.nan, 1.0, math.nan]), quantile)
    # Quantiles are of the pairs that there are.
    assert found.tolist() == [quantile == 1, False, quantile > 0, False]
    assert not cheapest(matching([-1, -1], [math.nan, math.nan]), quantile).any()


def test_of_many_pairs_a_share_as_large_as_the_quantile_is_kept(make_sae):
    found = match(make_sae(0, d_sae=200), make_sae(1, d_sae=200))
    for quantile in (0.1, 0.25, 0.5, 0.7, 0.995):
        kept = cheapest(found, quantile)
        assert int(kept.sum()) == round(200 * quantile)
        assert found.pair_cost[kept].max() <= found.pair_cost[~kept].min()
