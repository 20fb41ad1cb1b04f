import numpy as np
import pytest

from sae_match.matching.dense import DensePricer
from tests.matching.problems import naive_costs, normal, plain


def test_reduced_costs_are_those_of_a_naive_loop():
    a, b = plain(normal(0, 30, 4)), plain(normal(1, 40, 4))
    pricer = DensePricer(a, b)
    u, v = np.linspace(0, 2, 30), np.linspace(-1, 1, 40)
    hits = pricer.scan(u, v, 100.0)
    assert len(hits.rows) == 30 * 40
    unit = pricer.source_lengths[hits.rows] * pricer.target_lengths[hits.columns]
    naive = naive_costs(a, b)[hits.rows, hits.columns] - u[hits.rows] - v[hits.columns]
    assert hits.reduced * unit == pytest.approx(naive.astype(float), abs=1e-12)


def test_a_pass_leaves_the_costs_as_they_are():
    pricer = DensePricer(plain(normal(0, 30, 4)), plain(normal(1, 40, 4)))
    first, second = (pricer.scan(np.ones(30), np.ones(40), 0.5) for _ in range(2))
    assert np.array_equal(first.reduced, second.reduced)


def test_its_memory_is_that_of_the_matrix_and_the_vectors():
    assert DensePricer.bytes(1000, 2000, 0) == 8 * 1000 * 2000
    assert DensePricer.bytes(1000, 2000, 10) > DensePricer.bytes(1000, 2000, 0) + 8 * 3000 * 10
