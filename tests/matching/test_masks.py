"""`matcher.mask=dead`: what writes nothing, reads nothing or cannot be folded takes no part, in any arm."""

from dataclasses import replace

import pytest
import torch

from sae_match.errors import UserError
from sae_match.evaluation.arm_names import ARMS, OF_TWO_MODELS
from sae_match.matching.baselines import nearest
from sae_match.matching.cache import MatchingCache
from sae_match.matching.matching import arguments_of, match
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.folding import live_features
from tests.evaluation.validating import collection_of, fitting_text, saved, text_of, validated

DEAD = MatcherSettings(mask="dead")


def with_dead(sae):
    """Feature 0 writes nothing, 1 reads nothing, 2 has a threshold of zero."""
    sae = replace(sae, **{name: tensor.clone() for name, tensor in sae.tensors().items()})
    sae.W_dec[0], sae.W_enc[:, 1], sae.threshold[2] = 0, 0, 0
    return sae


def test_dead_features_are_known_by_their_weights(make_sae):
    assert live_features(with_dead(make_sae(0))).tolist() == [False] * 3 + [True] * 7
    relu = replace(with_dead(make_sae(0)), threshold=None, activation="relu")
    assert live_features(relu).tolist() == [False] * 2 + [True] * 8


@pytest.mark.parametrize("fold", ["threshold", "decoder_norm", "none"])
def test_dead_features_stay_alone_and_the_others_are_matched_as_among_themselves(make_sae, tmp_path, fold):
    source, target = with_dead(make_sae(0)), make_sae(1)
    found = MatchingCache(tmp_path).match(source, target, replace(DEAD, fold=fold))
    assert found.permutation[:3].tolist() == [-1] * 3
    expected = match(source, target, fold=fold, source_mask=live_features(source))
    assert torch.equal(found.permutation, expected.permutation)
    assert (found.permutation[3:] >= 0).all()


def test_where_nothing_is_dead_the_mask_changes_nothing(make_sae):
    arguments = arguments_of(DEAD, make_sae(0), make_sae(1))
    assert (arguments["source_mask"], arguments["target_mask"]) == (None, None)
    assert "mask" not in arguments


def test_a_masked_matching_is_another_one_in_the_cache(make_sae, tmp_path):
    cache, source, target = MatchingCache(tmp_path), with_dead(make_sae(0)), make_sae(1)
    cache.match(source, target, replace(DEAD, fold="none"))
    cache.match(source, target, MatcherSettings(fold="none"))
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert "mask" not in MatcherSettings().identity()  # what was found before there were masks is found again


def test_nearest_looks_among_those_that_take_part(make_sae):
    source, target = make_sae(0), make_sae(1)
    mask = torch.arange(10) % 2 == 0
    found = nearest(source, target, source_mask=mask, target_mask=mask)
    assert (found.permutation[~mask] == -1).all()
    assert (found.permutation[mask] % 2 == 0).all()
    everywhere = nearest(source, target)
    same = mask & (everywhere.permutation % 2 == 0)
    assert torch.equal(found.permutation[same], everywhere.permutation[same])


def test_a_validation_with_dead_features_gives_every_arm(bundled_model, tmp_path):
    collection = collection_of(3, 4)
    saes = saved({3: with_dead(collection.open(3)), 4: with_dead(collection.open(4))}, tmp_path / "saes")
    data = text_of(bundled_model[1])
    fitting = fitting_text(bundled_model[1], data)
    arms = [arm for arm in ARMS if arm not in ("composed", *OF_TWO_MODELS)]
    given = {"fitting": fitting, "arms": arms, "rotations": 1}
    with pytest.raises(UserError, match="must be positive and finite"):
        validated(bundled_model, tmp_path, saes, data, **given)
    module = validated(bundled_model, tmp_path, saes, data, matcher=DEAD, **given)
    for matching in module.matchings[3, 4].matchings.values():
        assert (matching.permutation[:3] == -1).all()
        assert not torch.isin(matching.permutation, torch.arange(3)).any()
    assert {row.arm for row in module.results} >= set(arms)


def test_an_unknown_mask_is_refused():
    with pytest.raises(UserError, match="unknown mask 'alive'; there are none, dead"):
        MatcherSettings(mask="alive")
