import torch

from sae_match import match
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.judging import judge
from sae_match.matching.significance.likeness import likeness


def test_cosines_are_those_of_the_columns_and_rows_of_each_pair(make_sae):
    source, target = make_sae(0, d_sae=12), make_sae(1, d_sae=9)
    found = likeness(source, target, match(source, target))
    for i, j in enumerate(match(source, target)):
        if j is None:
            assert found.encoder_cosine[i].isnan()
            assert found.statistic[i].isnan()
            continue
        encoder = torch.cosine_similarity(source.W_enc[:, i], target.W_enc[:, j], dim=0)
        decoder = torch.cosine_similarity(source.W_dec[i], target.W_dec[j], dim=0)
        assert abs(float(found.encoder_cosine[i] - encoder)) < 1e-6
        assert abs(float(found.decoder_cosine[i] - decoder)) < 1e-6
        assert float(found.statistic[i]) == float(found.encoder_cosine[i] + found.decoder_cosine[i]) / 2


def test_what_is_judged_is_not_looked_for_again_and_says_the_same(make_sae, tmp_path):
    source, target = make_sae(0, d_sae=40), make_sae(1, d_sae=40)
    settings, matching = MatcherSettings(), match(source, target)
    judged = judge(source, target, matching, 1, settings=settings, cache=MatchingCache(tmp_path))
    alone, beside = likeness(source, target, matching), likeness(source, target, matching, judged=judged)
    assert torch.equal(alone.margin, beside.margin)
    assert torch.equal(alone.mutual_nearest, beside.mutual_nearest)
    assert torch.equal(beside.statistic, judged.significance.statistic)
