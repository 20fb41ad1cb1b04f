"""The simulated scale in its smallest form: a run as users run it, beside its plan."""

import math
import sys

import pytest

from sae_match.benchmark.random_models import scale
from sae_match.benchmark.random_models.memory import TINY
from sae_match.benchmark.random_models.scale import SimulatedScale
from sae_match.errors import UserError
from sae_match.settings.tools import BenchmarkSettings

SMALLEST = SimulatedScale(TINY, ("matched", "layer_drop", "linear_map", "coactivation"), (1, 3), fitting=6)


def test_pairs_are_from_the_middle_of_the_model_and_all_of_it_at_most():
    assert scale.of(25, 32).scale.layers == range(26)
    assert scale.of(5, 16).scale.layers == range(10, 16)
    assert scale.of(1, 16).scale.layers == range(12, 14)
    with pytest.raises(UserError, match="pairs must be 1 to 25 and tokens at least 3, got 26 and 32"):
        BenchmarkSettings(pairs=26)


@pytest.mark.slow
def test_one_and_three_processes_give_the_same_numbers_and_every_figure():
    (case,) = scale.cases([sys.executable, "-m", "sae_match", "validate"], 0, SMALLEST).values()
    figures = {figure.what: figure for figure in case()}
    assert all(math.isfinite(figure.value) for figure in figures.values())
    # Two layers to the target, two behind: the survey's, and the clean pass's. Behind the last layer no arm runs one.
    assert figures["layer-forwards of the plan, a token"].value == 2 + 2
    assert figures["heads of the plan, a token"].value == 1 + len(SMALLEST.arms)
    for processes in ("1 process", "3 processes"):
        phases = [f"{processes}: {phase}" for phase in scale._PHASES.values()]
        assert set(phases) <= figures.keys()
        assert sum(figures[phase].value for phase in phases) < figures[f"{processes}: the whole run"].value
    (apart,) = (figure for what, figure in figures.items() if what.startswith("largest difference of 3 processes"))
    assert apart.reached
