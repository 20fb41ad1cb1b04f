import pytest

from sae_match.evaluation.plan import PassPlan, residual_bytes
from sae_match.model.description import ModelDescription


def description(**changes):
    sizes = {
        "architecture": "Toy",
        "n_layers": 4,
        "d_in": 10,
        "vocabulary": 100,
        "parameters": 2000,
        "parameters_per_layer": 300,
        "bytes_per_parameter": 2,
        "widths": {"residual": 10},
        "files": {},
        "missing": 0,
    }
    return ModelDescription(**sizes | changes)


def test_a_clean_pass_is_every_layer_and_one_head():
    plan = PassPlan(n_layers=4, pairs=[], arms=7)
    assert (plan.layer_forwards, plan.heads) == (4, 1)


def test_an_arm_runs_what_is_behind_its_target_layer():
    plan = PassPlan(n_layers=4, pairs=[(0, 1), (1, 2), (2, 3)], arms=2)
    assert plan.layer_forwards == 4 + 2 * (2 + 1 + 0)
    assert plan.heads == 1 + 2 * 3


def test_a_place_inside_a_layer_runs_that_layer_again():
    assert PassPlan(4, [(0, 1)], arms=3, reruns_target=True).layer_forwards == 4 + 3 * 3


def test_operations_count_each_matrix_product_once():
    plan = PassPlan(n_layers=4, pairs=[(2, 3)], arms=1)
    layers, heads, encoders, decoders = 4 * 300, 2 * 10 * 100, (50 + 60) * 10, 60 * 10
    expected = 2 * 7 * (layers + heads + encoders + decoders)
    assert plan.floating_point_operations(description(), {2: 50, 3: 60}, tokens=7) == pytest.approx(expected)


def test_residuals_take_the_models_dtype():
    assert residual_bytes(description(), batch_tokens=3) == 3 * 10 * 6 * 2
