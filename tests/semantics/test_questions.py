import math

import pytest
import torch

from sae_match import Matching
from sae_match.errors import UserError
from sae_match.semantics.questions import FeaturePath, all_eligible, along, controls, descendants, draw_paths

LAYERS = [3, 4, 6]


def matching(*permutation, one_to_one=True):
    costs = torch.tensor([math.nan if target < 0 else 10.0 + target for target in permutation]).double()
    return Matching(torch.tensor(permutation), costs, one_to_one=one_to_one)


# Feature 0 goes 0 → 2 → 1, 1 → 0 → (none), 2 → (none), 3 → 1 → 3.
MATCHINGS = {(3, 4): matching(2, 0, -1, 1), (4, 6): matching(-1, 3, 1, 0)}


def eligible(**changes):
    masks = all_eligible(dict.fromkeys(LAYERS, 4))
    for layer, feature in changes.items():
        masks[int(layer[1:])][feature] = False
    return masks


def features(paths):
    return sorted(path.features for path in paths)


def test_paths_follow_matchings_until_they_end():
    paths = draw_paths(LAYERS, MATCHINGS, eligible(), 10, seed=0)
    assert features(paths) == [(0, 2, 1), (1, 0), (3, 1, 3)]
    assert [path.number for path in paths] == [0, 1, 2]


def test_a_path_ends_before_a_feature_that_may_not_be_asked_about():
    assert features(draw_paths(LAYERS, MATCHINGS, eligible(L6=3), 10, seed=0)) == [(0, 2, 1), (1, 0), (3, 1)]
    assert features(draw_paths(LAYERS, MATCHINGS, eligible(L3=0, L4=0), 10, seed=0)) == [(3, 1, 3)]


def test_paths_are_drawn_uniformly_and_the_seed_fixes_them():
    drawn = [draw_paths(LAYERS, MATCHINGS, eligible(), 1, seed=seed)[0].features[0] for seed in range(600)]
    assert all(150 < drawn.count(start) < 250 for start in (0, 1, 3))
    assert draw_paths(LAYERS, MATCHINGS, eligible(), 2, seed=5) == draw_paths(LAYERS, MATCHINGS, eligible(), 2, seed=5)


def test_no_path_at_all_is_refused():
    with pytest.raises(UserError, match="no feature of layer 3 can be asked about: of 1 eligible ones none"):
        draw_paths(LAYERS, MATCHINGS, {**eligible(), 3: torch.tensor([False, False, True, False])}, 5, seed=0)


def test_every_step_is_asked_about_with_its_cost():
    (first, second) = along([FeaturePath(7, (0, 2, 1))], LAYERS, MATCHINGS)
    assert (first.source_layer, first.source_feature, first.target_layer, first.target_feature) == (3, 0, 4, 2)
    assert (second.source_layer, second.source_feature, second.target_layer, second.target_feature) == (4, 2, 6, 1)
    assert (first.cost, second.cost, second.path, second.distance) == (12.0, 11.0, 7, 2)


def test_descendants_are_under_each_arm_and_at_each_distance():
    arms = {
        "matched": {(3, 4): MATCHINGS[3, 4], (3, 6): matching(3, 2, 1, 0)},
        "composed": {(3, 6): matching(1, -1, -1, 3)},
    }
    asked = list(descendants([FeaturePath(0, (0, 2, 1)), FeaturePath(1, (1, 0))], LAYERS, 3, arms, eligible(L6=2)))
    assert [(q.arm, q.path, q.target_layer, q.target_feature) for q in asked] == [
        ("matched", 0, 4, 2),
        ("matched", 0, 6, 3),
        ("composed", 0, 6, 1),
        ("matched", 1, 4, 0),
    ]
    later = list(descendants([FeaturePath(0, (0, 2, 1)), FeaturePath(1, (1, 0))], LAYERS, 6, arms, eligible()))
    assert later == []


def test_controls_go_with_every_step():
    steps = list(along([FeaturePath(0, (0, 2, 1)), FeaturePath(1, (3, 1, 3))], LAYERS, MATCHINGS))
    nearest = {(3, 4): matching(0, 0, 0, 0, one_to_one=False), (4, 6): matching(1, 1, 1, 1, one_to_one=False)}
    asked = list(controls(steps, nearest, eligible(), seed=0))
    for step in steps:
        by_arm = {
            question.arm: question
            for question in asked
            if (question.source_layer, question.source_feature) == (step.source_layer, step.source_feature)
        }
        assert by_arm["nearest"].target_feature == int(nearest[step.source_layer, step.target_layer].permutation[0])
        assert by_arm["random"].target_feature != step.target_feature
        assert by_arm["identical"].target_feature == step.source_feature
        assert by_arm["identical"].target_layer == step.source_layer
        assert {question.path for question in by_arm.values()} == {step.path}


def test_random_features_are_eligible():
    steps = list(along([FeaturePath(0, (0, 2, 1))], LAYERS, MATCHINGS))[:1]
    masks = {**eligible(), 4: torch.tensor([False, True, True, False])}
    drawn = {q.target_feature for seed in range(20) for q in controls(steps, {}, masks, seed) if q.arm == "random"}
    assert drawn == {1}
    alone = {**eligible(), 4: torch.tensor([False, False, True, False])}
    assert [q.arm for q in controls(steps, {}, alone, 0)] == ["identical"]
