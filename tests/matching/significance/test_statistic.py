import pytest
import torch

from sae_match.matching.significance.statistic import directions, pair_statistic
from sae_match.saes.folding import fold_threshold


def test_it_is_the_mean_of_two_cosines_or_one_of_them(make_sae):
    source, target = make_sae(0), make_sae(1)
    partners = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    cosine = torch.nn.functional.cosine_similarity
    encoder = cosine(source.W_enc.T.double(), target.W_enc.T[partners].double())
    decoder = cosine(source.W_dec.double(), target.W_dec[partners].double())
    for name, expected in (("encoder", encoder), ("decoder", decoder), ("mean", (encoder + decoder) / 2)):
        assert torch.allclose(pair_statistic(source, target, partners, name), expected, rtol=1e-12)


def test_folding_does_not_change_it(make_sae):
    source, target, partners = make_sae(0), make_sae(1), torch.arange(10)
    folded = pair_statistic(fold_threshold(source), fold_threshold(target), partners, "mean")
    assert torch.allclose(folded, pair_statistic(source, target, partners, "mean"), atol=1e-6)


def test_no_partner_and_no_direction_have_none(make_sae):
    source, target, partners = make_sae(0), make_sae(1), torch.arange(10)
    partners[3] = -1
    source.W_enc[:, 5] = 0
    target.W_dec[7] = 0
    found = pair_statistic(source, target, partners, "mean")
    assert found.isnan().nonzero().flatten().tolist() == [3, 5, 7]
    assert pair_statistic(source, target, partners, "decoder").isnan().nonzero().flatten().tolist() == [3, 7]


@pytest.mark.parametrize("statistic", ["mean", "encoder", "decoder"])
def test_inner_products_of_directions_are_the_statistic(make_sae, statistic):
    source, target, partners = make_sae(0), make_sae(1), torch.arange(10).flip(0)
    inner = (directions(source, statistic) * directions(target, statistic)[partners]).sum(1)
    assert torch.allclose(inner.double(), pair_statistic(source, target, partners, statistic), atol=1e-6)
