"""How far the second best is, against all pairs in a plain loop."""

import math

import pytest
import torch

from sae_match.matching.relations import margins as module
from sae_match.matching.relations import nearest
from sae_match.matching.relations.margins import margins
from tests.conftest import random_sae


def statistic_of(source, target, i, j):
    cosines = [
        torch.cosine_similarity(source.W_enc[:, i].double(), target.W_enc[:, j].double(), dim=0),
        torch.cosine_similarity(source.W_dec[i].double(), target.W_dec[j].double(), dim=0),
    ]
    return float(sum(cosines) / 2)


def naive(source, target, permutation, rows, columns):
    """Margin and whether both are nearest, of each source feature, by looking at every other feature of either side."""
    found = []
    for i, j in enumerate(permutation.tolist()):
        if j < 0 or not rows[i] or not columns[j]:
            found.append((math.nan, False))
            continue
        own = statistic_of(source, target, i, j)
        beside = [statistic_of(source, target, i, k) for k in range(len(columns)) if k != j and columns[k]]
        rivals = [statistic_of(source, target, k, j) for k in range(len(rows)) if k != i and rows[k]]
        found.append((own - max(beside, default=math.nan), own >= max([*beside, *rivals, own]) - 1e-12))
    return found


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("n", "m"), [(40, 40), (23, 37), (37, 23), (9, 1), (1, 9)])
def test_margins_and_mutual_nearest_are_those_of_all_pairs(n, m, precision, monkeypatch):
    monkeypatch.setattr(nearest, "precision_for", lambda *_: precision)
    monkeypatch.setattr(nearest, "_BLOCK", (8, 16))
    source, target = random_sae(n, d_sae=n), random_sae(m + 100, d_sae=m)
    rows, columns = torch.ones(n, dtype=torch.bool), torch.ones(m, dtype=torch.bool)
    if min(n, m) > 3:
        rows[2], columns[3] = False, False
    order = torch.randperm(m, generator=torch.Generator().manual_seed(0))[:n]
    permutation = torch.cat([order, torch.full((n - len(order),), -1)])
    margin, mutual = margins(source, target, permutation, rows, columns, "mean")
    expected = naive(source, target, permutation, rows, columns)
    assert margin.tolist() == pytest.approx([one for one, _ in expected], abs=1e-9, nan_ok=True)
    assert mutual.tolist() == [one for _, one in expected]


def test_pairs_that_share_a_target_are_rivals():
    source, target = random_sae(0, d_sae=20), random_sae(1, d_sae=4)
    every = torch.ones(20, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    values = [[statistic_of(source, target, i, j) for j in range(4)] for i in range(20)]
    permutation = torch.tensor([max(range(4), key=row.__getitem__) for row in values])
    margin, mutual = margins(source, target, permutation, *every, "mean")
    expected = naive(source, target, permutation, *every)
    assert margin.tolist() == pytest.approx([one for one, _ in expected], abs=1e-9)
    assert mutual.tolist() == [one for _, one in expected]
    assert mutual.sum() == len(permutation.unique())


def test_equal_features_are_each_others_nearest_and_have_no_margin(monkeypatch):
    monkeypatch.setattr(nearest, "_MOST", 0)
    source = random_sae(0, d_sae=5)
    twice = type(source)(
        *(torch.cat([part] * 2, axis) for part, axis in ((source.W_enc, 1), (source.b_enc, 0))),
        torch.cat([source.W_dec] * 2),
        source.b_dec,
        torch.cat([source.threshold] * 2),
    )
    every = torch.ones(5, dtype=torch.bool), torch.ones(10, dtype=torch.bool)
    margin, mutual = margins(source, twice, torch.tensor([0, 6, 2, 8, 4]), *every, "mean")
    assert margin.tolist() == pytest.approx([0.0] * 5, abs=module._EQUAL)
    assert mutual.all()


def test_where_no_pair_takes_part_nothing_is_said():
    source = random_sae(0)
    none, every = torch.zeros(10, dtype=torch.bool), torch.ones(10, dtype=torch.bool)
    margin, mutual = margins(source, source, torch.arange(10), none, every, "mean")
    assert margin.isnan().all()
    assert not mutual.any()
