import math

import pytest
import torch

from sae_match import Matching, match, significance
from sae_match.errors import UserError
from sae_match.matching.relations.stability import fifths, stability
from sae_match.matching.significance.result import NullEvidence, Significance
from tests.conftest import random_sae
from tests.matching.problems import noisy_copy

EVIDENCE = NullEvidence("second_moment", "mean", 8, 0, (0,), 80, 1.0, ())


def judged(q, tested, source="a") -> Significance:
    q, tested = torch.tensor(q, dtype=torch.float64), torch.tensor(tested)
    matching = Matching(torch.arange(len(q)), torch.zeros(len(q), dtype=torch.float64), provenance={"source": source})
    return Significance(matching, q, q, q, tested, EVIDENCE)


def test_shares_are_counts_over_seeds():
    found = stability(
        [
            judged([0.01, 0.01, 0.9, 0.01, math.nan], [True, True, True, False, True]),
            judged([0.01, 0.30, 0.9, 0.01, 0.02], [True, True, True, False, True]),
        ]
    )
    assert found.share[:3].tolist() == [1.0, 0.5, 0.0]
    assert math.isnan(found.share[3])
    assert found.share[4] == 0.5
    assert found.in_none.tolist() == [False, False, True, False, False]
    assert found.in_all.tolist() == [True, False, False, False, False]


def test_features_that_other_seeds_share_are_found_and_their_own_are_not():
    first, strange = random_sae(0, 32, 100), random_sae(9, 32, 100)
    # The others have half of the first one's features, and half of their own.
    half = torch.arange(100) < 50
    significances = []
    for seed in (1, 2, 3):
        kin, own = noisy_copy(first, seed, 0.97), random_sae(20 + seed, 32, 100)
        order = torch.randperm(100, generator=torch.Generator().manual_seed(seed))
        where = order[half]
        W_enc, W_dec = kin.W_enc.clone(), kin.W_dec.clone()
        W_enc[:, where], W_dec[where] = own.W_enc[:, where], own.W_dec[where]
        other = type(first)(W_enc, kin.b_enc, W_dec, kin.b_dec, kin.threshold)
        significances.append(significance(first, other, match(first, other)))
    found = stability(significances)
    assert 0.35 < float(found.share.mean()) < 0.65
    assert stability([significance(first, strange, match(first, strange))]).in_none.double().mean() > 0.95


def test_parts_are_of_equal_size_and_in_order():
    values = torch.tensor([5.0, 1.0, math.nan, 3.0, 3.0, 0.0, 9.0], dtype=torch.float64)
    among = torch.tensor([True, True, True, True, True, True, False])
    low, high = fifths(values, among, 2)
    assert low.nonzero().flatten().tolist() == [1, 3, 5]
    assert high.nonzero().flatten().tolist() == [0, 4]


def test_what_is_no_set_of_seeds_is_refused():
    with pytest.raises(UserError, match="as many features each, got none"):
        stability([])
    with pytest.raises(UserError, match="as many features each, got 1, 2"):
        stability([judged([0.1], [True]), judged([0.1, 0.1], [True, True])])
    with pytest.raises(UserError, match="come from several dictionaries"):
        stability([judged([0.1], [True], "a"), judged([0.1], [True], "b")])
    with pytest.raises(UserError, match="alpha must lie between 0 and 1"):
        stability([judged([0.1], [True])], alpha=0.0)
