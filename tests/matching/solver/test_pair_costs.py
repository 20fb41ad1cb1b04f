import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from sae_match.matching.cost import FeatureVectors, feature_vectors
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


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-3, 1.0])
def test_what_factors_round_in_vectors_far_from_the_origin_is_accounted_for(distance):
    """Against exact rationals: vectors are products of parameters and factors, which float64 rounds."""
    a = normal(0, 20, 4) + 1e6
    b = a + distance * normal(1, 20, 4)
    factors = torch.full((20,), 1 / 3, dtype=torch.float64), torch.full((20,), 1 / 3 + 1e-9, dtype=torch.float64)
    sides = [FeatureVectors((rows,), (own,), ("W_dec",)) for rows, own in zip((a, b), factors, strict=True)]
    costs = listed_costs(*sides, torch.arange(20), torch.arange(20))
    lengths = sum(side.squares.sqrt() for side in sides).numpy()
    for at, bound in enumerate(difference_error(costs, lengths, 4)):
        pairs = zip(a[at], b[at], strict=True)
        x, y = (Fraction(float(own[at])) for own in factors)
        exact = sum((Fraction(float(p)) * x - Fraction(float(q)) * y) ** 2 for p, q in pairs)
        assert abs(Fraction(float(costs[at])) - exact) <= Fraction(float(bound))


def test_each_part_of_what_differences_are_off_by_counts():
    u, cost, length = 2.0**-53, np.array([4.0]), np.array([1e6])
    # Of a sum of 300 squares, by Higham's bound.
    assert difference_error(cost, np.zeros(1), 300) >= 300 * u / (1 - 300 * u) * cost
    # Vectors that have been moved, and so has what lies between them.
    assert difference_error(cost, length, 4) >= 2 * 2.0 * u * length
    # Also where they have been moved onto each other.
    assert difference_error(np.zeros(1), length, 4) >= (u * length) ** 2
