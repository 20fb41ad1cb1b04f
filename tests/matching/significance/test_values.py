import math

import pytest
import torch
from scipy.stats import false_discovery_control

from sae_match.matching.significance.values import p_values, q_values, storey_share


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_a_p_value_counts_what_chance_does_as_well():
    p = p_values(doubles(0.5, 0.2, math.nan, 0.9), doubles(0.1, 0.5, 0.6, -math.inf))
    assert p[[0, 1, 3]].tolist() == [3 / 5, 3 / 5, 1 / 5]
    assert p[2].isnan()


def test_q_values_are_those_of_scipy():
    p = torch.rand(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64).pow(3)
    p[100:200] = p[:100]
    q = q_values(p, torch.ones(500, dtype=torch.bool))
    assert q.numpy() == pytest.approx(false_discovery_control(p.numpy()), rel=1e-12)


def test_a_tested_feature_without_a_partner_counts_as_a_p_value_of_one():
    p = doubles(0.01, math.nan, 0.2, math.nan)
    q = q_values(p, torch.tensor([True, True, True, False]))
    assert q[[0, 2]].numpy() == pytest.approx(false_discovery_control([0.01, 1, 0.2])[[0, 2]])
    assert q[[1, 3]].isnan().all()


def test_the_share_that_is_no_chance_is_found_again():
    generator = torch.Generator().manual_seed(1)
    p = torch.rand(40_000, generator=generator, dtype=torch.float64)
    p[:10_000] *= 0.01
    assert storey_share(p, torch.ones(40_000, dtype=torch.bool)) == pytest.approx(0.25, abs=0.02)
    assert storey_share(torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.bool)) == 0
    assert math.isnan(storey_share(p, torch.zeros(40_000, dtype=torch.bool)))
    # Half of a wider dictionary has no partner: of all its features half as many have a true one.
    half = torch.cat([p, torch.full_like(p, math.nan)])
    assert storey_share(half, torch.ones(80_000, dtype=torch.bool)) == pytest.approx(0.125, abs=0.01)


def test_chance_that_came_out_as_no_number_speaks_for_nobody():
    statistic = torch.tensor([0.9, 0.1], dtype=torch.float64)
    null = torch.tensor([0.2, math.nan, math.nan, -math.inf], dtype=torch.float64)
    assert p_values(statistic, null).tolist() == pytest.approx([3 / 5, 4 / 5])
