"""A matching as a sequence of partners, as a table, and turned round."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sae_match import Matching, compose, match
from sae_match.errors import UserError


@pytest.fixture(scope="module")
def partial():
    """Feature 0 is 2, feature 2 is 0, feature 1 is none."""
    return Matching(torch.tensor([2, -1, 0]), torch.tensor([1.5, math.nan, 0.5], dtype=torch.float64))


def test_a_matching_is_as_long_as_its_source_and_gives_partners(partial):
    assert len(partial) == 3
    assert [partial[feature] for feature in range(3)] == [2, None, 0]
    assert list(partial) == [2, None, 0]
    for outside in (-1, 3):
        with pytest.raises(IndexError, match=f"no source feature {outside}: the matching has 3"):
            partial[outside]


def test_a_matching_of_nothing_is_there_all_the_same():
    nothing = Matching(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64))
    assert bool(nothing)
    assert len(nothing) == len(list(nothing)) == len(nothing.to_pandas()) == 0


def test_a_table_has_a_row_a_pair(partial):
    table = partial.to_pandas()
    assert list(table.itertuples(index=False, name=None)) == [(0, 2, 1.5), (2, 0, 0.5)]
    assert list(table.columns) == ["source_feature", "target_feature", "cost"]
    assert [str(kind) for kind in table.dtypes] == ["int64", "int64", "float64"]


def test_who_matches_does_not_wait_for_tables():
    statement = "import sys, sae_match.matching.matching; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def folded(sae):
    """Parameters of each feature, folded by its threshold, side by side."""
    threshold = sae.threshold.double()
    parts = (sae.W_enc.T / threshold[:, None], (sae.b_enc / threshold)[:, None], sae.W_dec * threshold[:, None])
    return np.concatenate([part.numpy() for part in parts], axis=1)


@pytest.mark.parametrize(("n", "m"), [(8, 8), (5, 9), (9, 5)])
def test_the_inverse_is_what_matching_the_other_way_finds(make_sae, n, m):
    source, target = make_sae(0, d_sae=n), make_sae(1, d_sae=m)
    found = match(source, target)
    turned = found.inverse()
    rows, columns = linear_sum_assignment(cdist(folded(target), folded(source), "sqeuclidean"))
    expected = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    assert list(turned) == [expected.get(feature) for feature in range(m)]
    assert (turned.cost, turned.lower_bound) == (found.cost, found.lower_bound)
    assert match(target, source).cost == pytest.approx(turned.cost)
    for i, j in enumerate(found):
        assert j is None or float(turned.pair_cost[j]) == float(found.pair_cost[i])
    again = turned.inverse()
    assert torch.equal(again.permutation, found.permutation)
    assert again.provenance == found.provenance


def test_the_inverse_is_of_the_saes_the_other_way_round(make_sae, tmp_path):
    source, target = make_sae(0), make_sae(1)
    found = match(source, target, source_mask=torch.arange(10) > 2)
    found.save(tmp_path / "m")
    turned = Matching.load(tmp_path / "m").inverse()
    assert (turned.provenance["source"], turned.provenance["target"]) == (target.content_hash(), source.content_hash())
    assert "target_mask" in turned.provenance
    assert "source_mask" not in turned.provenance
    there_and_back = compose(found, found.inverse())
    assert list(there_and_back) == [None, None, None, *range(3, 10)]


def test_how_many_features_the_target_has_is_said_where_the_matching_does_not(partial):
    with pytest.raises(UserError, match=r"inverse\(features=…\)"):
        partial.inverse()
    assert list(partial.inverse(features=4)) == [2, None, 0, None]
    with pytest.raises(UserError, match="leads to target feature 2, and the target has 2 features"):
        partial.inverse(features=2)
    full = Matching(torch.tensor([1, 2, 0]), torch.zeros(3, dtype=torch.float64))
    assert list(full.inverse()) == [2, 0, 1]


def test_how_many_features_the_target_has_is_not_told_otherwise_than_noted(partial):
    noted = Matching(partial.permutation, partial.pair_cost, provenance={"target_features": "4"})
    assert list(noted.inverse(features=4)) == list(noted.inverse()) == [2, None, 0, None]
    with pytest.raises(UserError, match="features=3 is not what the matching says: its target has 4 features"):
        noted.inverse(features=3)


def test_what_is_not_one_to_one_has_no_inverse():
    shared = Matching(torch.tensor([0, 0]), torch.zeros(2, dtype=torch.float64), one_to_one=False)
    with pytest.raises(UserError, match="has no inverse"):
        shared.inverse(features=2)
