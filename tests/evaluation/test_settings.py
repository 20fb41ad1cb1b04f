import dataclasses
import math

import pytest

from sae_match.errors import UserError
from sae_match.evaluation.settings import EvaluationSettings, measurable_arms, refuse_impossible


@pytest.mark.parametrize("memory", [0.0, -1.0, math.nan, math.inf])
def test_memory_is_a_positive_number(memory):
    with pytest.raises(UserError, match=r"evaluation\.memory must be a positive number of gigabytes, got"):
        refuse_impossible(EvaluationSettings(memory=memory))


@pytest.mark.parametrize("seed", [-1, 2**62, 10**20])
def test_seeds_have_a_range(seed):
    with pytest.raises(UserError, match=r"evaluation\.seed must lie in 0"):
        refuse_impossible(EvaluationSettings(seed=seed))


def test_defaults_are_possible():
    refuse_impossible(EvaluationSettings())
    refuse_impossible(EvaluationSettings(memory=0.5, seed=7))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 5.0, math.nan])
def test_a_level_lies_between_0_and_1(alpha):
    with pytest.raises(UserError, match=r"^evaluation\.alpha must lie between 0 and 1, without either, got"):
        EvaluationSettings(alpha=alpha)


def test_random_targets_are_counted():
    with pytest.raises(UserError, match=r"evaluation\.rotations must be at least 0, got -1"):
        EvaluationSettings(rotations=-1)


def test_without_random_targets_the_arms_that_need_them_are_left_out_and_it_is_said(caplog):
    settings = EvaluationSettings(arms=["swapped_significant", "swapped", "matched_significant", "matched"])
    assert measurable_arms(settings) == ["matched", "matched_significant", "swapped", "swapped_significant"]
    assert caplog.text == ""
    assert measurable_arms(dataclasses.replace(settings, rotations=0)) == ["matched", "swapped"]
    assert caplog.messages == [
        "evaluation.rotations=0: no pair is judged, and matched_significant and swapped_significant are left out"
    ]


def test_arms_none_of_which_can_be_without_random_targets_are_refused():
    with pytest.raises(
        UserError, match=r"arms swapped_significant need to know .* evaluation\.rotations to at least 1"
    ):
        EvaluationSettings(arms=["swapped_significant"], rotations=0)


def test_another_way_to_carry_values_is_refused_by_the_name_of_its_setting():
    refuse_impossible(EvaluationSettings(carry="decoder_norm"))
    with pytest.raises(UserError, match=r"evaluation\.carry: unknown folding 'thresholds'; there are threshold, "):
        EvaluationSettings(carry="thresholds")
