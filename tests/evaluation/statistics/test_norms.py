import math

import numpy as np
import pytest
import torch

from sae_match.evaluation.statistics.norms import SKETCH_BINS, median_of, norms_of, sketch


def drawn(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).lognormal(3, 1, count))


@pytest.mark.parametrize("count", [1, 2, 3, 100, 4001])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e12])
def test_the_median_is_numpys_to_half_a_percent(count, scale):
    norms = drawn(count) * scale
    # Of an even number of norms any between the two in the middle is a median.
    middle = norms.sort().values[[(count - 1) // 2, count // 2]]
    assert float(middle[0]) * 0.994 < median_of(sketch(norms)) < float(middle[1]) * 1.006


def test_sketches_of_parts_add_up_to_that_of_all_exactly():
    norms = drawn(1000)
    parts = sum(sketch(part) for part in norms.split([1, 600, 0, 399]))
    assert torch.equal(parts, sketch(norms))
    assert median_of(parts) == median_of(sketch(norms))


def test_a_few_long_vectors_do_not_move_the_median():
    norms = drawn(1000)
    longer = norms.clone()
    longer[norms.topk(20).indices] *= 1e6
    assert median_of(sketch(longer)) == median_of(sketch(norms))


def test_norms_beyond_the_range_are_counted_at_its_ends():
    ends = sketch(torch.tensor([0.0, 1e-300, math.inf, math.nan, 1e300], dtype=torch.float64))
    assert (float(ends[0]), float(ends[SKETCH_BINS - 1]), float(ends.sum())) == (2, 3, 5)


def test_nothing_has_no_median():
    assert math.isnan(median_of(sketch(torch.zeros(0, dtype=torch.float64))))


def test_norms_are_lengths_in_double_precision():
    x = torch.full((2, 4), 1e30)
    assert norms_of(x).tolist() == pytest.approx([2e30, 2e30], rel=1e-6)
