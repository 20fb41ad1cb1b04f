import math

import pytest
import torch

from sae_match import Matching, compose, match
from sae_match.errors import UserError
from sae_match.matching.composition import feature_paths


def matching(*permutation):
    return Matching(torch.tensor(permutation), torch.zeros(len(permutation), dtype=torch.float64))


def test_a_partners_partner_can_be_followed_by_hand():
    composed = compose(matching(1, 2, 0), matching(2, 0, 1))
    assert composed.permutation.tolist() == [0, 1, 2]
    assert math.isnan(composed.cost)


def test_a_path_that_ends_stays_ended():
    first, second = matching(1, -1, 0), matching(-1, 0, 1)
    assert compose(first, second).permutation.tolist() == [0, -1, -1]
    assert feature_paths([first, second]).tolist() == [[0, 1, 0], [1, -1, -1], [2, 0, -1]]


def test_composition_is_associative_and_has_the_identity():
    generator = torch.Generator().manual_seed(0)
    a, b, c = (matching(*torch.randperm(20, generator=generator).tolist()) for _ in range(3))
    left, right = compose(compose(a, b), c), compose(a, compose(b, c))
    assert torch.equal(left.permutation, right.permutation)
    assert torch.equal(compose(a, matching(*range(20))).permutation, a.permutation)


def test_matchings_of_permuted_copies_compose_to_the_direct_matching(make_sae):
    saes = [make_sae(0, d_in=32, d_sae=50)]
    for seed in (1, 2):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
        last = saes[-1]
        saes.append(
            type(last)(last.W_enc[:, order], last.b_enc[order], last.W_dec[order], last.b_dec, last.threshold[order])
        )
    composed = compose(match(saes[0], saes[1]), match(saes[1], saes[2]))
    assert torch.equal(composed.permutation, match(saes[0], saes[2]).permutation)
    assert composed.provenance["source"] == saes[0].content_hash()
    assert composed.provenance["target"] == saes[2].content_hash()


def test_matchings_that_do_not_join_are_refused(make_sae):
    with pytest.raises(UserError, match="leads to feature 3, the second starts from 2 features"):
        compose(matching(3), matching(0, 1))
    with pytest.raises(UserError, match="does not start from the SAE"):
        compose(match(make_sae(0), make_sae(1)), match(make_sae(2), make_sae(3)))
    with pytest.raises(UserError, match="at least one matching"):
        feature_paths([])
