import pytest
import torch

from sae_match.errors import UserError
from sae_match.matching.significance.candidates import candidates
from sae_match.matching.significance.statistic import pair_statistic


def test_a_split_shows_as_two_significant_candidates_and_chance_as_none(make_sae):
    source, target = make_sae(0, d_in=32, d_sae=60), make_sae(1, d_in=32, d_sae=60)
    for copy in (4, 9):
        target.W_dec[copy], target.W_enc[:, copy] = source.W_dec[7], source.W_enc[:, 7]
    found = candidates(source, target, 7)
    assert sorted(found.target[:2].tolist()) == [4, 9]
    assert (found.q <= 0.05).sum() == 2
    assert (candidates(source, target, 8).q <= 0.05).sum() == 0


def test_all_live_candidates_are_listed_the_most_alike_first(make_sae):
    source, target = make_sae(0, d_sae=60), make_sae(1, d_sae=60)
    target.W_dec[5] = 0
    found = candidates(source, target, 3, rotations=2, target_mask=torch.arange(60) != 6)
    assert sorted(found.target.tolist()) == [each for each in range(60) if each not in (5, 6)]
    assert (found.statistic.diff() <= 0).all()
    assert (found.p.diff() >= 0).all()
    pair = torch.full((60,), -1)
    pair[3] = found.target[0]
    assert float(pair_statistic(source, target, pair, "mean")[3]) == pytest.approx(float(found.statistic[0]), abs=1e-6)


def test_features_that_are_not_there_or_dead_are_refused(make_sae):
    source, target = make_sae(0), make_sae(1)
    with pytest.raises(UserError, match="there is no source feature 10; there are 0 to 9"):
        candidates(source, target, 10)
    source.W_enc[:, 2] = 0
    with pytest.raises(UserError, match="source feature 2 has no encoder or no decoder direction"):
        candidates(source, target, 2)
    with pytest.raises(UserError, match="width 6, the target of width 7"):
        candidates(source, make_sae(1, d_in=7), 0)
