import numpy as np
import pytest
import torch

from sae_match.matching.arithmetic import centred_rows, squared_distances, squares_of_rows
from tests.matching.problems import normal

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def side(seed, n, dtype):
    """Parameters with factors, and what they are in numpy."""
    part, factor = normal(seed, n, 9).to(dtype), normal(seed + 50, n, 1).flatten()
    return part, factor, part.double().numpy() * factor.numpy()[:, None]


@pytest.mark.parametrize("dtype", DTYPES)
def test_squares_are_those_of_numpy(dtype):
    part, factor, rows = side(0, 300, dtype)
    centre = normal(7, 1, 9).flatten()
    expected = np.square(rows - centre.numpy()).sum(1)
    assert squares_of_rows(part, factor, centre).numpy() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_centred_rows_are_those_of_numpy(dtype):
    part, factor, rows = side(0, 70, dtype)
    kept, centre, lengths = part.clone(), normal(7, 1, 9).flatten(), normal(8, 70, 1).flatten().abs() + 0.1
    expected = (rows - centre.numpy()) / lengths.numpy()[:, None]
    assert centred_rows(part, factor, centre, lengths).numpy() == pytest.approx(expected, rel=1e-13, abs=1e-15)
    assert torch.equal(part, kept)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("other", DTYPES)
def test_distances_are_those_of_numpy(dtype, other):
    (x, s, left), (y, t, right) = side(0, 70, dtype), side(1, 40, other)
    rows, columns = torch.arange(200) % 70, torch.arange(200) % 40
    expected = np.square(left[rows] - right[columns]).sum(1)
    assert squared_distances((x, s), (y, t), rows, columns).numpy() == pytest.approx(expected, rel=1e-13)
