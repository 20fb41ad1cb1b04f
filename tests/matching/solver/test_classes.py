"""Features with equal vectors are found, whatever their parameters look like, and given their partners back."""

import numpy as np
import pytest
import torch

from sae_match.matching.cost import FeatureVectors
from sae_match.matching.solver import classes as module
from sae_match.matching.solver.classes import Classes, Flow, together


def vectors(rows, factors=None):
    rows = torch.as_tensor(rows)
    factors = torch.ones(len(rows), dtype=torch.float64) if factors is None else torch.as_tensor(factors)
    return FeatureVectors((rows,), (factors.double(),), ("W_dec",))


def planted(seed=0, n=40, d=7):
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(n, d))
    rows[[3, 8, 21]] = rows[5]
    rows[[30, 31]] = 0.0
    return rows


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equal_vectors_are_one_class(dtype):
    sides = Classes.of_equal(vectors(torch.tensor(planted()).to(dtype)))
    groups = [np.flatnonzero(sides.index == k).tolist() for k in np.flatnonzero(sides.sizes > 1)]
    assert groups == [[3, 5, 8, 21], [30, 31]]
    assert len(sides) == 36
    assert sides.sizes.sum() == 40
    first = np.unique(sides.index, return_index=True)[1]
    assert torch.equal(sides.vectors.rows(slice(None)), vectors(planted()).rows(slice(None))[first].to(dtype).double())


def test_zeros_of_either_sign_are_equal_and_products_are_what_counts():
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0], [0.0, 1.0 + 1e-15]])
    assert Classes.of_equal(vectors(rows, [1.0, 1.0, 0.5, 1.0])).index.tolist() == [0, 0, 0, 1]


def test_vectors_of_equal_length_are_not_taken_for_equal(monkeypatch):
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    assert Classes.of_equal(vectors(rows)).index.tolist() == [0, 1, 0, 2]
    monkeypatch.setattr(module, "_hashes", lambda _, at: np.zeros(len(at), dtype=np.int64))
    assert Classes.of_equal(vectors(rows)).index.tolist() == [0, 1, 0, 2]


def test_few_that_are_equal_are_left_as_they_are():
    left, right = vectors(planted()), vectors(planted(1))
    assert [len(side) for side in together((left, right), 0.2)] == [40, 40]
    assert [len(side) for side in together((left, right), 0.05)] == [36, 36]
    distinct = vectors(np.random.default_rng(3).normal(size=(40, 7)))
    assert [len(side) for side in together((left, distinct), 0.05)] == [36, 40]


def test_each_feature_of_a_class_is_given_once():
    sides = Classes.of_equal(vectors(planted()))
    listed = np.repeat(np.arange(len(sides)), sides.sizes)
    listed = np.random.default_rng(0).permutation(listed)
    members = sides.members(listed)
    assert sorted(members.tolist()) == list(range(40))
    assert np.array_equal(sides.index[members], listed)


def test_a_flow_knows_what_is_left():
    flow = Flow.of_slots(np.array([0, 0, 1, 0]), np.array([2, 2, 0, 1]), np.array([1, 3, 2]))
    assert flow.rows.tolist() == [0, 0, 1]
    assert flow.columns.tolist() == [1, 2, 0]
    assert flow.amounts.tolist() == [1, 2, 1]
    assert flow.supply.tolist() == [3, 1]
    assert flow.free.tolist() == [0, 2, 0]
