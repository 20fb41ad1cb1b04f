import math

import numpy as np
import pytest
import torch

from sae_match.matching.cost import feature_vectors
from sae_match.matching.solver.pair_costs import difference_error, listed_costs, pair_costs
from tests.matching.problems import ALL, cost_matrix, naive_costs, normal, plain, rounding


def test_pair_costs_are_exact_where_the_product_form_cancels():
    """Two far-away points that nearly meet: the difference is right to its last digits."""
    a = torch.full((1, 3), 1e6, dtype=torch.float64)
    b = a + 1e-6
    exact = float(((a - b) ** 2).sum())
    assert float(pair_costs(plain(a), plain(b), torch.tensor([0]))) == exact
    assert abs(float(cost_matrix(plain(a), plain(b))) - exact) <= rounding(plain(a), plain(b))[0, 0]


def test_a_feature_without_a_partner_has_no_cost():
    a = plain(normal(0, 3, 2))
    costs = pair_costs(a, a, torch.tensor([0, -1, 2]))
    assert costs[[0, 2]].tolist() == [0, 0]
    assert math.isnan(costs[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_listed_costs_of_parameters_of_any_dtype_are_those_of_the_vectors(make_sae, dtype):
    sides = [
        feature_vectors(make_sae(seed).to(dtype=dtype), fold="threshold", terms=ALL, metric="mse") for seed in (0, 1)
    ]
    rows, columns = torch.arange(5).repeat(3), torch.arange(15) % 4
    expected = naive_costs(*sides)[rows, columns].astype(float)
    assert listed_costs(*sides, rows, columns) == pytest.approx(expected, rel=1e-13)


def test_sides_of_two_dtypes_are_compared_in_float64(make_sae):
    a = feature_vectors(make_sae(0), fold="threshold", terms=ALL, metric="mse")
    b = feature_vectors(make_sae(1).to(dtype=torch.float64), fold="threshold", terms=ALL, metric="mse")
    rows = torch.arange(4)
    assert listed_costs(a, b, rows, rows) == pytest.approx(naive_costs(a, b).diagonal()[:4].astype(float), rel=1e-13)


@pytest.mark.parametrize("distance", [1.0, 1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_costs_by_differences_are_off_by_no_more_than_they_say(distance, offset):
    rows = normal(0, 50, 40) + offset
    a, b = plain(rows), plain(rows + distance * normal(1, 50, 40))
    at = torch.arange(50)
    costs, exact = listed_costs(a, b, at, at), naive_costs(a, b).diagonal()
    lengths = (a.squares.sqrt() + b.squares.sqrt()).numpy()
    bound = difference_error(costs, lengths, 40)
    assert (np.abs(costs - exact) <= bound).all()
    assert (bound <= 1e-12 * exact + 1e-14 * (1 + offset) * 40 * np.sqrt(exact)).all()
