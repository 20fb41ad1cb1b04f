import pytest
import torch

from sae_match import Matching, fold_threshold, match
from sae_match.errors import UserError
from sae_match.evaluation.arms import ARMS, MATCHED, Transport, checked_arms, stand_in


def by_definition(source, target, permutation, x):
    """Eq. 5 word by word: fold both, encode, send feature i to permutation[i], decode."""
    source, target = fold_threshold(source), fold_threshold(target)
    f = source.encode(x)
    sent = torch.zeros(len(x), target.d_sae, dtype=x.dtype)
    for i, j in enumerate(permutation.tolist()):
        if j >= 0:
            sent[:, j] += f[:, i]
    return target.decode(sent)


@pytest.fixture
def case(make_sae):
    source, target = make_sae(0, dtype=torch.float64), make_sae(1, dtype=torch.float64)
    return source, target, torch.randn(50, 6, dtype=torch.float64) * 2


@pytest.mark.parametrize("broken", [[], [0, 3]])
def test_the_matched_arm_is_encode_permute_decode(case, broken):
    source, target, x = case
    found = match(source, target)
    permutation = found.permutation.clone()
    permutation[broken] = -1
    transport = Transport.between(source, target, Matching(permutation, found.pair_cost), "threshold")
    x_hat = stand_in(MATCHED, x, source.encode(x), target.encode(x), source, target, {MATCHED: transport})
    assert torch.allclose(x_hat, by_definition(source, target, permutation, x), rtol=1e-10, atol=1e-10)


def test_without_folding_values_are_carried_as_they_are(case):
    source, target, x = case
    identity = Matching(torch.arange(10), torch.zeros(10, dtype=torch.float64))
    transport = Transport.between(source, target, identity, "none")
    x_hat = stand_in(MATCHED, x, source.encode(x), target.encode(x), source, target, {MATCHED: transport})
    assert torch.allclose(x_hat, target.decode(source.encode(x)))


def test_an_sae_matched_to_itself_reconstructs(case):
    source, _, x = case
    transport = Transport.between(source, source, match(source, source), "threshold")
    f = source.encode(x)
    assert torch.allclose(stand_in(MATCHED, x, f, f, source, source, {MATCHED: transport}), source(x))


def test_the_other_arms(case):
    source, target, x = case
    x_target = torch.randn_like(x)
    arguments = (x, source.encode(x), target.encode(x_target), source, target, {})
    assert torch.equal(stand_in("layer_drop", *arguments), x)
    assert torch.equal(stand_in("reconstruct_source", *arguments), source(x))
    assert torch.equal(stand_in("reconstruct_target", *arguments), target(x_target))


def test_arms_come_in_table_order_and_a_misspelt_one_gets_the_nearest():
    assert checked_arms(["random", "matched"]) == ["matched", "random"]
    with pytest.raises(UserError, match=r"unknown arm 'mached'; did you mean matched\? There are"):
        checked_arms(["mached"])
    with pytest.raises(UserError, match=r"unknown arm 'clean'; There are .* \(clean is always there\)"):
        checked_arms(["clean"])
    with pytest.raises(UserError, match=r"evaluation\.arms is empty"):
        checked_arms([])
    assert set(checked_arms(list(ARMS))) == set(ARMS)


def test_scales_too_far_apart_to_carry_values_are_named(make_sae):
    source, target = make_sae(0), make_sae(1)
    source.threshold[4] = 1e-45
    identity = Matching(torch.arange(10), torch.zeros(10, dtype=torch.float64))
    with pytest.raises(UserError, match="source feature 4 cannot be carried to target feature 4: the ratio"):
        Transport.between(source, target, identity, "threshold")
