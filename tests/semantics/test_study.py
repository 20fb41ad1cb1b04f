import itertools
import math

import pytest
import torch

from sae_match import compose, match
from sae_match.errors import UserError
from sae_match.matching import baselines
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import LayerMatcher
from sae_match.matching.settings import MatcherSettings
from sae_match.semantics.questions import all_eligible
from sae_match.semantics.settings import StudySettings
from sae_match.semantics.study import chosen_layers, eligible_of, matchings_of, questions_of, starting_layers
from tests.evaluation.validating import saved

LAYERS = [1, 2, 3, 4]
FEATURES = 10


@pytest.fixture(scope="module")
def matcher(tmp_path_factory):
    from tests.conftest import random_sae

    folder = tmp_path_factory.mktemp("study")
    collection = saved({layer: random_sae(layer) for layer in LAYERS}, folder)
    return LayerMatcher(collection, MatcherSettings(), MatchingCache(folder / "cache"))


@pytest.fixture(scope="module")
def matchings(matcher):
    return matchings_of(matcher, LAYERS, [1, 2])


def test_layers_are_the_last_ones_in_a_row():
    assert chosen_layers(StudySettings(layers=3), [0, 1, 2, 3, 4]) == [2, 3, 4]
    assert chosen_layers(StudySettings(), [0, 1, 2]) == [0, 1, 2]
    assert chosen_layers(StudySettings(), [0, 1, 3, 4, 5]) == [3, 4, 5]
    with pytest.raises(UserError, match=r"no two layers that follow each other have an SAE: \[0, 2, 4\]"):
        chosen_layers(StudySettings(), [0, 2, 4])
    with pytest.raises(UserError, match=r"study\.paths must be at least 1 and study\.layers at least 2, got 0 and 16"):
        chosen_layers(StudySettings(paths=0), [0, 1])


def test_starts_are_the_first_layer_and_the_one_in_the_middle():
    assert starting_layers(StudySettings(), [10, 11, 12, 13, 14]) == [10, 12]
    assert starting_layers(StudySettings(), [0, 1]) == [0]
    assert starting_layers(StudySettings(starts=[12, 10, 12]), [10, 11, 12, 13]) == [10, 12]
    with pytest.raises(UserError, match=r"study\.starts: 13 is not one of the layers"):
        starting_layers(StudySettings(starts=[13]), [10, 11, 12, 13])


def test_matchings_are_direct_and_composed(matchings, matcher):
    assert set(matchings.neighbours) == {(1, 2), (2, 3), (3, 4)}
    assert set(matchings.exact) == {(1, 2), (1, 3), (1, 4), (2, 3), (2, 4)}
    assert set(matchings.composed) == {(1, 3), (1, 4), (2, 4)}
    sae = {layer: matcher.collection.open(layer) for layer in LAYERS}
    assert torch.equal(matchings.exact[1, 4].permutation, match(sae[1], sae[4]).permutation)
    chain = compose(match(sae[2], sae[3]), match(sae[3], sae[4]))
    assert torch.equal(matchings.composed[2, 4].permutation, chain.permutation)
    assert matchings.widths == dict.fromkeys(LAYERS, FEATURES)
    assert matchings.composed[2, 4].cost >= matchings.exact[2, 4].cost


def test_every_question_is_asked_once(matchings, matcher):
    settings = StudySettings(paths=4)
    eligible = all_eligible(dict.fromkeys(LAYERS, FEATURES))
    paths, asked = questions_of(settings, LAYERS, [1, 2], matchings, eligible, matcher)
    assert len(paths) == 4
    assert len(set(asked)) == len(asked)
    counts = {arm: sum(question.arm == arm for question in asked) for arm in ("nearest", "random", "identical")}
    assert counts == dict.fromkeys(("nearest", "random", "identical"), 4 * 3)
    # Three steps of each path, two further layers from the first start and one from the second.
    assert sum(question.arm == "matched" for question in asked) == 4 * (3 + 2 + 1)
    assert sum(question.arm == "composed" for question in asked) == 4 * (2 + 1)
    assert not any(math.isnan(question.cost) for question in asked if question.arm != "random")


def test_the_nearest_feature_is_that_of_the_whole_sae(matchings, matcher):
    eligible = all_eligible(dict.fromkeys(LAYERS, FEATURES))
    _, asked = questions_of(StudySettings(paths=10), LAYERS, [1], matchings, eligible, matcher)
    sae = {layer: matcher.collection.open(layer) for layer in LAYERS}
    for source, target in itertools.pairwise(LAYERS):
        nearest = baselines.nearest(sae[source], sae[target])
        for question in asked:
            if question.arm == "nearest" and question.source_layer == source:
                assert question.target_feature == int(nearest.permutation[question.source_feature])
                assert question.cost == pytest.approx(float(nearest.pair_cost[question.source_feature]))


def test_features_without_evidence_are_drawn_only_if_asked_for():
    evidence, widths = {1: [True, False], 2: [False, False]}, {1: 2, 2: 2}
    assert eligible_of(evidence, widths, live=False)[2].all()
    with pytest.raises(UserError, match="no feature of layer 2 has a description, or fires anywhere"):
        eligible_of(evidence, widths, live=True)
    assert eligible_of({1: [True, False]}, {1: 2}, live=True)[1].tolist() == [True, False]
