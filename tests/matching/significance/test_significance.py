import math

import pytest
import torch

import sae_match
from sae_match import SAE, match
from sae_match.benchmark.planted_chain import Plan, planted_chain
from sae_match.errors import UserError
from sae_match.matching.baselines import identity, nearest, random, rotated
from sae_match.matching.cache import MatchingCache
from sae_match.matching.matching import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.significance import significance


def planted(new, d_in=32, d_sae=256, seed=0, **plan):
    source, target = planted_chain(Plan(new, **plan), d_in, d_sae, seed=seed)
    return source, target, match(source.sae, target.sae)


def right(source, target, matching):
    return (source.who == target.who[matching.permutation]) & (matching.permutation >= 0)


def test_where_nothing_matches_nothing_is_significant_and_a_plain_rotation_says_it_is():
    shares = {"second_moment": [], "rotation": []}
    for seed in range(4):
        source, target, matching = planted(1.0, seed=seed)
        for null, found in shares.items():
            judged = significance(source.sae, target.sae, matching, null=null, seed=seed)
            found.append((float((judged.p <= 0.05).double().mean()), judged.share))
    assert sum(p for p, _ in shares["second_moment"]) / 4 == pytest.approx(0.05, abs=0.03)
    assert max(share for _, share in shares["second_moment"]) <= 0.01
    assert sum(p for p, _ in shares["rotation"]) / 4 > 0.2


def test_where_half_matches_what_is_significant_is_right():
    source, target, matching = planted(0.5, 64, 512)
    judged = sae_match.significance(source.sae, target.sae, matching)
    truly = right(source, target, matching)
    picked = judged.significant(0.05).permutation >= 0
    assert truly[picked].double().mean() > 0.9
    assert picked[truly].double().mean() > 0.65
    assert judged.share == float(picked.double().mean())
    assert judged.share_at(0.01) < judged.share < judged.share_at(0.2)
    assert float(judged.statistic[picked].min()) == judged.cut(0.05) > float(judged.statistic[~picked].max())
    assert judged.evidence.draws == 8 * 512
    assert judged.evidence.resolution == 1 / (1 + 8 * 512)
    assert float(judged.p.min()) == judged.evidence.resolution


def test_saes_that_are_the_same_are_significant_everywhere(make_sae):
    sae = make_sae(0, d_in=24, d_sae=100)
    judged = significance(sae, sae, match(sae, sae))
    assert judged.share == 1
    assert judged.storey == 1
    assert float(judged.q.max()) == judged.evidence.resolution


def test_a_target_that_is_the_source_rotated_is_not_significant():
    source, _, _ = planted(1.0)
    turned = rotated(source.sae, 7)
    judged = significance(source.sae, turned, match(source.sae, turned))
    assert judged.share == 0


def test_the_same_seed_gives_the_same_and_the_cache_changes_nothing(tmp_path):
    source, target, matching = planted(0.5)
    cache = MatchingCache(tmp_path)
    first = significance(source.sae, target.sae, matching, rotations=2, cache=cache)
    kept = sorted(tmp_path.glob("*.safetensors"))
    assert len(kept) == 2
    again = significance(source.sae, target.sae, matching, rotations=2, cache=cache)
    without = significance(source.sae, target.sae, matching, rotations=2)
    other = significance(source.sae, target.sae, matching, rotations=2, seed=1)
    assert torch.equal(first.p, again.p)
    assert torch.equal(first.p, without.p)
    assert not torch.equal(first.p, other.p)
    assert sorted(tmp_path.glob("*.safetensors")) == kept


def test_the_matcher_of_the_null_is_that_of_the_matching(tmp_path):
    source, target, _ = planted(0.5)
    settings = MatcherSettings(terms={"W_dec": 0.1 + 0.2, "W_enc": 1.0}, metric="cosine", fold="decoder_norm")
    cache = MatchingCache(tmp_path)
    matching = cache.match(source.sae, target.sae, settings)
    told = significance(source.sae, target.sae, matching, rotations=2)
    given = significance(source.sae, target.sae, matching, rotations=2, settings=settings)
    assert torch.equal(told.p, given.p)
    plain = significance(source.sae, target.sae, matching, rotations=2, settings=MatcherSettings())
    assert not torch.equal(told.p, plain.p)


@pytest.mark.parametrize("statistic", ["encoder", "decoder"])
def test_either_cosine_alone_can_be_the_statistic(statistic):
    source, target, matching = planted(0.2, 64, 512)
    judged = significance(source.sae, target.sae, matching, statistic=statistic)
    assert judged.share > 0.1
    assert judged.evidence.statistic == statistic
    assert right(source, target, matching)[judged.q <= 0.05].double().mean() > 0.8


def test_nearest_features_have_significance_too():
    source, target, _ = planted(0.5, 64, 512)
    matching = nearest(source.sae, target.sae)
    judged = significance(source.sae, target.sae, matching)
    picked = judged.q <= 0.05
    assert 0.1 < judged.share < 0.5
    assert right(source, target, matching)[picked].double().mean() > 0.9
    assert not judged.significant(0.05).one_to_one


@pytest.mark.parametrize("wide", ["source", "target"])
def test_sides_may_be_of_different_width(wide):
    source, target, _ = planted(0.0)
    narrow = SAE(*(part[..., :100] for part in (source.sae.W_enc, source.sae.b_enc)), source.sae.W_dec[:100],
                 source.sae.b_dec, source.sae.threshold[:100])  # fmt: skip
    pair = (narrow, target.sae) if wide == "target" else (target.sae, narrow)
    matching = match(*pair)
    judged = significance(*pair, matching)
    assert int((judged.p <= 1).sum()) == 100
    assert int(judged.tested.sum()) == len(judged.p)
    who = (source.who[:100], target.who) if wide == "target" else (target.who, source.who[:100])
    truly = (who[0] == who[1][matching.permutation]) & (matching.permutation >= 0)
    assert truly[judged.q <= 0.05].double().mean() > 0.9
    assert (judged.q <= 0.05)[truly].double().mean() > 0.5


def test_features_that_a_rejection_leaves_alone_count_and_have_no_value():
    source, target, whole = planted(0.5)
    matching = match(source.sae, target.sae, rejection_cost=float(whole.pair_cost.median()))
    judged = significance(source.sae, target.sae, matching)
    alone = matching.permutation < 0
    assert alone.any()
    assert judged.p[alone].isnan().all()
    assert judged.tested.all()
    assert judged.evidence.draws == 8 * 256
    assert judged.evidence.paired < 0.9
    assert right(source, target, matching)[judged.q <= 0.05].double().mean() > 0.85


def test_dead_features_have_no_statistic_and_do_not_enter():
    source, target, matching = planted(0.0, dead=0.5)
    judged = significance(source.sae, target.sae, matching)
    dead = (source.sae.W_dec == 0).all(1)
    assert dead.any()
    assert judged.statistic[dead].isnan().all()
    assert not judged.tested[dead].any()
    assert judged.tested[~dead].all()
    assert judged.evidence.draws == 8 * int((~dead).sum())
    masked = MatcherSettings(mask="dead", fold="decoder_norm")
    cached = match(
        source.sae, target.sae, fold="decoder_norm", source_mask=~dead, target_mask=(target.sae.W_dec != 0).any(1)
    )
    told = significance(source.sae, target.sae, cached, rotations=2)
    given = significance(source.sae, target.sae, cached, rotations=2, settings=masked)
    assert torch.equal(told.p.nan_to_num(), given.p.nan_to_num())


def test_masks_of_ones_own_are_asked_for():
    source, target, _ = planted(0.5)
    mask = torch.arange(256) < 200
    matching = match(source.sae, target.sae, source_mask=mask)
    with pytest.raises(UserError, match="was found with a source_mask; give it again as source_mask="):
        significance(source.sae, target.sae, matching)
    judged = significance(source.sae, target.sae, matching, source_mask=mask, rotations=2)
    assert torch.equal(judged.tested, mask)
    assert judged.evidence.draws == 2 * 200
    with pytest.raises(UserError, match="source_mask leaves out feature 0, which the matching has given a partner"):
        significance(source.sae, target.sae, matching, source_mask=~mask)


def test_a_sample_of_rows_is_coarser_and_stricter():
    source, target, matching = planted(0.5, 64, 512)
    all_rows = significance(source.sae, target.sae, matching)
    some = significance(source.sae, target.sae, matching, rows=64)
    assert some.evidence.draws == 8 * 64
    assert some.evidence.rows == 64
    assert some.share <= all_rows.share
    assert some.share > 0.7 * all_rows.share


def test_pairs_that_no_weight_has_chosen_are_compared_with_themselves():
    source, target, _ = planted(0.5)
    for matching in (identity(source.sae), random(source.sae, seed=0)):
        judged = significance(source.sae, target.sae, matching)
        assert judged.share == 0
        assert float(judged.p.mean()) == pytest.approx(0.5, abs=0.1)


def test_random_targets_are_counted_aloud():
    source, target, matching = planted(0.5, 8, 32)
    told = []
    significance(source.sae, target.sae, matching, rotations=3, watch=told.append)
    assert told == [1, 2, 3]


def test_fewer_features_than_dimensions_are_judged_as_others_are():
    source, target, matching = planted(0.0, 64, 40)
    judged = significance(source.sae, target.sae, matching, rotations=16)
    assert right(source, target, matching)[judged.q <= 0.05].double().mean() > 0.9
    assert judged.share > 0.3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rotations": 0}, "rotations must be a whole number, at least 1, got 0"),
        ({"rotations": 2.5}, "rotations must be a whole number, at least 1, got 2.5"),
        ({"seed": -1}, "seed must be a whole number, at least 0, got -1"),
        ({"rows": 0}, "rows must be a whole number, at least 1, got 0"),
        ({"null": "shuffled"}, "unknown null 'shuffled'; there are second_moment, rotation"),
        ({"statistic": "cost"}, "unknown statistic 'cost'; there are mean, encoder, decoder"),
        ({"source_mask": torch.ones(3, dtype=torch.bool)}, r"source_mask must be a tensor, bool \[10\]"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_impossible_arguments_are_refused(make_sae, given, message):
    source, target = make_sae(0), make_sae(1)
    with pytest.raises(UserError, match=message):
        significance(source, target, match(source, target), **given)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 5, math.nan])
@pytest.mark.usefixtures("as_a_user")
def test_a_level_lies_between_zero_and_one(make_sae, alpha):
    source, target = make_sae(0), make_sae(1)
    judged = significance(source, target, match(source, target), rotations=1)
    for asked in (judged.significant, judged.share_at, judged.cut):
        with pytest.raises(UserError, match="alpha must lie between 0 and 1, without either, got"):
            asked(alpha)


def test_one_live_target_feature_and_no_live_source_feature_are_refused(make_sae):
    sae, one = make_sae(0), make_sae(1, d_sae=1)
    with pytest.raises(UserError, match="of 1 features 1 take part"):
        significance(sae, one, match(sae, one))
    dead = make_sae(2)
    dead.W_dec.zero_()
    with pytest.raises(UserError, match="none of the source's 10 features takes part and has an encoder"):
        significance(dead, sae, match(dead, sae))


def test_matchings_of_other_saes_are_refused(make_sae):
    source, target = make_sae(0), make_sae(1)
    matching = match(source, target)
    with pytest.raises(UserError, match="the matching's target is another SAE"):
        significance(source, make_sae(2), matching)
    with pytest.raises(UserError, match="a matching of 10 features that leads to feature 9 does not go with"):
        significance(source, make_sae(2, d_sae=5), matching)
    with pytest.raises(UserError, match="width 6, the target of width 7"):
        significance(source, make_sae(2, d_in=7), matching)


def test_a_matching_that_does_not_say_how_it_was_found_needs_settings(make_sae):
    source, target = make_sae(0), make_sae(1)
    bare = Matching(torch.arange(10), torch.full((10,), math.nan, dtype=torch.float64))
    with pytest.raises(UserError, match=r"does not say how it was found .* give settings=MatcherSettings"):
        significance(source, target, bare)
    assert significance(source, target, bare, settings=MatcherSettings(), rotations=1).tested.all()
