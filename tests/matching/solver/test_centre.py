import numpy as np
import pytest
import torch

from sae_match.matching.solver.centre import about_centre, rounding_margin, unit_lengths
from tests.matching.problems import all_rows, cost_matrix, naive_costs, normal, plain, rounding

OFFSETS = [0.0, 30.0, 100.0, 1e4, 1e8]


def test_what_all_features_have_in_common_does_not_drown_their_differences():
    a, b = normal(0, 20, 5), normal(1, 20, 5)
    assert torch.allclose(cost_matrix(plain(a + 1e8), plain(b + 1e8)), cost_matrix(plain(a), plain(b)), rtol=1e-6)


@pytest.mark.parametrize("offset", OFFSETS)
def test_the_rounding_margin_covers_the_error_of_every_entry(offset):
    rows = normal(0, 40, 300) * 10 + offset
    a, b = plain(rows), plain(rows + 1e-7 * normal(1, 40, 300))
    error = np.abs(cost_matrix(a, b).numpy() - naive_costs(a, b))
    assert (error.max(axis=1) > 0).all()
    assert (error <= rounding(a, b)).all()


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
@pytest.mark.parametrize("shorter", [1.0, 1e-9])
def test_the_rounding_margin_is_twice_what_theory_says(offset, shorter):
    """Higham's bounds, and what rounding has moved vectors by: each part counts, and none covers for another."""
    source, target = about_centre(plain(normal(0, 40, 300) + offset), plain(shorter * normal(1, 40, 300) + offset))
    u = 2.0**-53
    gamma = 300 * u / (1 - 300 * u)
    x, y = source.squares.sqrt(), target.squares.sqrt().max()
    moved = source.drift * y + target.drift.max() * x
    squares = source.slip + target.slip.max()
    assert (source.slip >= gamma * source.squares + 2 * x * source.drift).all()
    assert (source.drift >= u * plain(normal(0, 40, 300) + offset).squares.sqrt()).all()
    assert (rounding_margin(source, target) / 2 >= squares + 2 * (gamma * x * y + moved) + 3 * u * (x + y) ** 2).all()


@pytest.mark.parametrize("offset", OFFSETS)
def test_the_rounding_margin_is_small_beside_what_differs(offset):
    a, b = plain(normal(0, 40, 300) + offset), plain(normal(1, 40, 300) + offset)
    assert rounding(a, b).max() < 1e-9 * (1 + offset) * naive_costs(a, b).mean()


@pytest.mark.parametrize("offset", OFFSETS)
def test_squares_about_the_centre_are_off_by_no_more_than_they_say(offset):
    sides = about_centre(plain(normal(0, 300, 40) + offset), plain(normal(1, 60, 40) + offset))
    for side in sides:
        exact = np.square(all_rows(side.vectors).astype(np.longdouble) - side.centre.numpy()).sum(1)
        assert (np.abs(side.squares.numpy() - exact) <= side.slip.numpy()).all()


@pytest.mark.parametrize("offset", OFFSETS)
def test_vectors_drift_no_further_than_they_say(offset):
    side, _ = about_centre(plain(normal(0, 30, 40) + offset), plain(normal(1, 60, 40) + offset))
    exact = all_rows(side.vectors).astype(np.longdouble) - side.centre.numpy()
    moved = np.sqrt(np.square(side.rows(slice(None)).numpy() - exact).sum(1))
    assert (moved <= side.drift.numpy()).all()


def test_a_centre_that_is_not_finite_is_the_origin():
    huge = torch.full((3, 2), 3e38)
    side, _ = about_centre(plain(huge), plain(huge))
    assert side.centre.tolist() == [0, 0]
    assert torch.isfinite(rounding_margin(side, side)).all()


def test_very_short_vectors_count_as_a_tenth_of_the_mean_length():
    a, b = torch.tensor([[0.0, 0.0], [0.0, 8.0]]), torch.tensor([[-4.0, 4.0], [4.0, 4.0]])
    sides = about_centre(plain(a.double()), plain(b.double()))
    assert sides[0].centre.tolist() == [0, 4]
    assert [side.tolist() for side in unit_lengths(*sides)] == [[4, 4], [4, 4]]
    short, long = about_centre(plain(torch.zeros(1, 2)), plain(torch.zeros(1, 2)))
    assert [side.tolist() for side in unit_lengths(short, long)] == [[1], [1]]
    sides = about_centre(plain(torch.tensor([[0.0], [1.0], [-1.0]])), plain(torch.zeros(1, 1)))
    assert [side.tolist() for side in unit_lengths(*sides)] == [[pytest.approx(0.05), 1, 1], [pytest.approx(0.05)]]
