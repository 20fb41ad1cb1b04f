import math
from collections import Counter

import pytest
import torch

from sae_match import Matching
from sae_match.matching.significance.result import NullEvidence, Significance
from sae_match.semantics.classes import of_each_class
from sae_match.semantics.questions import all_eligible, along, draw_paths

EVIDENCE = NullEvidence("second_moment", "mean", 1, 0, (1,), 3, 1.0, (0.0,) * 12)
LEVEL = 0.05


def judged(features=40, significant=30):
    """Feature i is matched with the one behind it; the first so many are significant, the last has no partner."""
    permutation = (torch.arange(features) + 1) % features
    permutation[-1] = -1
    q = torch.where(torch.arange(features) < significant, 0.01, 0.5).double()
    q[-1] = math.nan
    cost = torch.arange(features).double()
    return Significance(Matching(permutation, cost), q, q, q, torch.ones(features, dtype=torch.bool), EVIDENCE)


PAIRS = {(0, 1): judged(), (1, 2): judged(significant=10)}
ALL = all_eligible({0: 40, 1: 40, 2: 40})


def test_both_classes_are_drawn_in_equal_numbers_from_all_pairs_of_layers():
    asked = list(of_each_class(PAIRS, ALL, 20, LEVEL, 0, first=7))
    assert Counter(question.arm for question in asked) == {"significant": 20, "not_significant": 20}
    assert {(one.source_layer, one.target_layer) for one in asked} == {(0, 1), (1, 2)}
    # Each is a path of its own, and none of those that were drawn before.
    assert [question.path for question in asked] == list(range(7, 47))
    assert len({(one.source_layer, one.source_feature) for one in asked}) == 40
    for one in asked:
        found = PAIRS[one.source_layer, one.target_layer]
        assert one.target_feature == int(found.matching.permutation[one.source_feature])
        assert one.cost == one.source_feature
        assert one.q == float(found.q[one.source_feature])
        assert (one.q <= LEVEL) == (one.arm == "significant")


def test_fewer_are_drawn_where_there_are_no_more():
    asked = list(of_each_class({(0, 1): PAIRS[0, 1]}, ALL, 20, LEVEL, 0))
    assert Counter(question.arm for question in asked) == {"significant": 20, "not_significant": 9}
    assert list(of_each_class({}, ALL, 20, LEVEL, 0)) == []
    assert list(of_each_class(PAIRS, ALL, 0, LEVEL, 0)) == []


def test_only_features_that_may_be_asked_about_are_drawn():
    eligible = {**ALL, 1: torch.arange(40) % 2 == 0}
    for one in of_each_class(PAIRS, eligible, 100, LEVEL, 0):
        assert eligible[one.source_layer][one.source_feature]
        assert eligible[one.target_layer][one.target_feature]


def test_another_seed_draws_others():
    first, again, other = (list(of_each_class(PAIRS, ALL, 10, LEVEL, seed)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("known", [{}, PAIRS])
def test_steps_of_paths_carry_q_where_it_is_known_and_are_the_same_questions(known):
    matchings = {pair: found.matching for pair, found in PAIRS.items()}
    paths = draw_paths([0, 1, 2], matchings, ALL, 10, 0)
    steps = list(along(paths, [0, 1, 2], matchings, known))
    assert steps == list(along(paths, [0, 1, 2], matchings))
    for step in steps:
        if known:
            assert step.q == float(PAIRS[step.source_layer, step.target_layer].q[step.source_feature])
        else:
            assert math.isnan(step.q)
