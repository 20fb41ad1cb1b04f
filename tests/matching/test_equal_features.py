"""Features that are all alike, as dead ones are: matched as cheaply as scipy matches them, certified, in few rounds."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sae_match import match
from sae_match.benchmark.planted import alike, planted_saes
from sae_match.matching.cost import TERMS, feature_vectors, term_weights


def costs_of(source, target):
    sides = [
        feature_vectors(sae, fold="threshold", terms=term_weights(TERMS), metric="mse") for sae in (source, target)
    ]
    left, right = (side.rows(slice(None)) for side in sides)
    return (left[:, None] - right).square().sum(2).numpy()


SIDES = {
    "both": (200, 200, 100, 100),
    "source": (200, 200, 100, 1),
    "unequally": (200, 200, 100, 40),
    "all": (60, 60, 60, 60),
    "narrower": (120, 200, 60, 90),
    "wider": (200, 120, 150, 30),
}


def problem(name):
    n_source, n_target, left, right = SIDES[name]
    source, target, _ = planted_saes(12, n_source, n_target, seed=3)
    return alike(source, left), alike(target, right)


@pytest.mark.parametrize("solver", ["dense", "sparse"])
@pytest.mark.parametrize("name", SIDES)
def test_they_are_matched_at_the_least_cost(name, solver):
    source, target = problem(name)
    found = match(source, target, solver=solver)
    costs = costs_of(source, target)
    best = costs[linear_sum_assignment(costs)].sum()
    assert found.cost == pytest.approx(best, rel=1e-9)
    assert found.lower_bound <= best * (1 + 1e-12)
    assert found.gap < 1e-9
    paired = found.permutation[found.permutation >= 0]
    assert len(paired.unique()) == min(costs.shape)
    assert found.evidence.rounds <= 8


@pytest.mark.parametrize("name", ["both", "unequally", "wider"])
def test_some_are_left_alone_where_that_is_cheaper(name):
    source, target = problem(name)
    costs = costs_of(source, target)
    price = float(np.quantile(costs.min(1), 0.5))
    found = match(source, target, solver="sparse", rejection_cost=price)
    some = np.minimum(costs, price)
    best = some[linear_sum_assignment(some)].sum()
    alone = min(costs.shape) - int((found.permutation >= 0).sum())
    assert 0 < alone < min(costs.shape)
    assert found.cost + alone * price == pytest.approx(best, rel=1e-9)


def test_the_same_matching_comes_of_an_interrupted_one(tmp_path):
    source, target = problem("unequally")
    told = []

    def interrupt(status):
        told.append(status)
        if status.round == 2:
            raise KeyboardInterrupt

    file = tmp_path / "m.unfinished"
    with pytest.raises(KeyboardInterrupt):
        match(source, target, solver="sparse", watch=interrupt, checkpoint=file)
    assert file.is_file()
    begun = []
    found = match(source, target, solver="sparse", checkpoint=file, watch=begun.append)
    assert begun[0].round == 2
    assert torch.equal(found.permutation, match(source, target, solver="sparse").permutation)


def test_masked_features_are_no_part_of_it():
    source, target = problem("both")
    mask = torch.arange(200) >= 30
    found = match(source, target, solver="sparse", source_mask=mask)
    costs = costs_of(source, target)[30:]
    assert found.cost == pytest.approx(costs[linear_sum_assignment(costs)].sum(), rel=1e-9)
    assert (found.permutation[:30] == -1).all()
