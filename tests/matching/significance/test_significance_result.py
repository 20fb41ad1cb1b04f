import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import false_discovery_control

from sae_match import match, significance
from sae_match.errors import UserError
from sae_match.matching.significance.result import Significance, over_all_pairs


@pytest.fixture
def judged(make_sae):
    source, target = make_sae(0, d_sae=40), make_sae(1, d_sae=40)
    source.W_dec[:10], source.W_enc[:, :10] = target.W_dec[:10], target.W_enc[:, :10]
    source.W_dec[39] = 0
    return significance(source, target, match(source, target), rotations=4)


def test_a_file_holds_all_of_it(judged, tmp_path):
    judged.save(tmp_path / "s")
    again = Significance.load(tmp_path / "s")
    for name in ("statistic", "p", "q", "tested"):
        assert torch.equal(getattr(again, name).nan_to_num(), getattr(judged, name).nan_to_num())
    assert again.evidence == judged.evidence
    assert torch.equal(again.matching.permutation, judged.matching.permutation)
    assert again.matching.lower_bound == judged.matching.lower_bound
    assert again.matching.evidence == judged.matching.evidence
    assert judged.matching.provenance.items() <= again.matching.provenance.items()
    first = (tmp_path / "s").read_bytes()
    judged.save(tmp_path / "s")
    assert (tmp_path / "s").read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


def test_what_is_no_significance_is_refused(judged, tmp_path):
    judged.matching.save(tmp_path / "m")
    with pytest.raises(UserError, match="m is not a sound matching file"):
        Significance.load(tmp_path / "m")
    with pytest.raises(UserError, match="there is no file"):
        Significance.load(tmp_path / "nothing")


def test_the_partial_matching_says_what_it_is(judged):
    partial = judged.significant(0.05)
    kept = judged.q <= 0.05
    assert torch.equal(partial.permutation >= 0, kept)
    assert torch.equal(partial.pair_cost[kept], judged.matching.pair_cost[kept])
    assert partial.pair_cost[~kept].isnan().all()
    assert partial.lower_bound == -math.inf
    assert partial.provenance["significance"] == "q <= 0.05, second_moment, 4 rotations, seed 0"


def test_pairs_of_all_layers_can_be_decided_about_together(judged, make_sae):
    source, target = make_sae(5, d_sae=30), make_sae(6, d_sae=30)
    other = significance(source, target, match(source, target), rotations=4)
    first, second = over_all_pairs([judged, other])
    tested = torch.cat([judged.tested, other.tested])
    expected = false_discovery_control(torch.cat([judged.p, other.p])[tested].nan_to_num(1.0).numpy())
    assert torch.cat([first.q, second.q])[tested].numpy() == pytest.approx(expected)
    assert first.evidence.together == second.evidence.together == 2
    assert torch.equal(second.p, other.p)


def test_what_rests_on_different_nulls_is_not_decided_about_together(judged):
    other = replace(judged, evidence=replace(judged.evidence, null="rotation"))
    with pytest.raises(UserError, match="got rotation mean; second_moment mean"):
        over_all_pairs([judged, other])
    with pytest.raises(UserError, match="got none"):
        over_all_pairs([])


@pytest.mark.usefixtures("as_a_user")
def test_wrong_shapes_are_refused(judged):
    with pytest.raises(UserError, match=r"p must be torch.float64 \[40\], got torch.float64 \[3\]"):
        replace(judged, p=judged.p[:3])


def test_the_quantiles_of_the_null_rise_and_surround_what_chance_gives(judged):
    quantiles = judged.evidence.quantiles
    assert list(quantiles) == sorted(quantiles)
    assert quantiles[0] < 0.6 < judged.cut(0.05) <= 1
    assert repr(judged).startswith("Significance(39 features, share=")
