import math

import pytest

from sae_match.errors import UserError
from sae_match.evaluation.settings import EvaluationSettings, refuse_impossible


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


def test_another_way_to_carry_values_is_refused_by_the_name_of_its_setting():
    refuse_impossible(EvaluationSettings(carry="decoder_norm"))
    with pytest.raises(UserError, match=r"evaluation\.carry: unknown folding 'thresholds'; there are threshold, "):
        EvaluationSettings(carry="thresholds")
