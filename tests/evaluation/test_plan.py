import random
from itertools import pairwise

import pytest
import torch

from sae_match.errors import UserError
from sae_match.evaluation import plan
from sae_match.evaluation.plan import (
    PassPlan,
    arms_of,
    in_memory,
    pairs_at,
    refuse_broken_chains,
    twins_among,
)
from sae_match.model.description import ModelDescription
from sae_match.saes.collection import SAECollection


def description(**changes):
    sizes = {
        "architecture": "Toy",
        "n_layers": 4,
        "d_in": 10,
        "vocabulary": 100,
        "parameters": 2000,
        "parameters_per_layer": 300,
        "bytes_per_parameter": 2,
        "positions": None,
        "has_bos": True,
        "widths": {"residual": 10},
        "heads": 2,
        "inner": 20,
        "files": {},
        "missing": 0,
    }
    return ModelDescription(**sizes | changes)


def collection(*layers):
    return SAECollection("gemma_scope", "some/folder", layers={layer: {} for layer in layers})


def test_pairs_are_at_the_distances_that_are_asked_for():
    assert pairs_at(collection(3, 1, 2, 5), [1]) == [(1, 2), (2, 3)]
    assert pairs_at(collection(0, 1, 2, 3), [3, 1, 1]) == [(0, 1), (0, 3), (1, 2), (2, 3)]
    assert pairs_at(collection(0, 4), [4, 7]) == [(0, 4)]


@pytest.mark.parametrize("spans", [[], [0], [1, -2]])
def test_distances_are_at_least_one(spans):
    with pytest.raises(UserError, match=r"evaluation\.spans must be distances of at least 1"):
        pairs_at(collection(0, 1), spans)


def test_nothing_to_match_is_said_with_the_distances():
    with pytest.raises(UserError, match="no two adjacent layers with an SAE in some/folder"):
        pairs_at(collection(0, 2), [1])
    with pytest.raises(UserError, match="no two layers at a distance of 3, 5 with an SAE"):
        pairs_at(collection(0, 2), [3, 5])


def test_between_neighbours_there_is_nothing_to_compose():
    arms = ["matched", "composed", "random"]
    assert arms_of((3, 4), arms) == ["matched", "random"]
    assert arms_of((3, 5), arms) == arms


@pytest.mark.parametrize(
    ("fold", "arms", "twins"),
    [
        ("none", ["matched", "matched_unfolded", "random"], {"matched_unfolded": "matched"}),
        ("threshold", ["matched", "matched_unfolded"], {}),
        ("decoder_norm", ["matched", "matched_unfolded"], {}),
        ("none", ["matched_unfolded", "quantile_0.5"], {}),
        ("none", ["matched"], {}),
    ],
)
def test_without_folding_the_unfolded_arm_is_matched_by_another_name(fold, arms, twins):
    assert twins_among(arms, fold) == twins


def test_what_is_carried_otherwise_is_no_twin():
    arms = ["matched", "matched_unfolded"]
    assert twins_among(arms, "none", "threshold") == {}
    assert twins_among(arms, "none", "none") == {"matched_unfolded": "matched"}


def test_without_pairs_there_is_the_clean_pass():
    plan = PassPlan(n_layers=4, pairs=[], arms=["matched"])
    assert (plan.layer_forwards, plan.heads) == (4, 1)
    assert plan.runs() == []


def test_an_arm_runs_what_is_behind_its_target_layer():
    plan = PassPlan(n_layers=4, pairs=[(0, 1), (1, 2), (2, 3)], arms=["matched", "random"])
    assert plan.layer_forwards == 8 + 2 * (2 + 1 + 0)
    assert plan.heads == 1 + 2 * 3


def test_a_place_inside_a_layer_runs_that_layer_again():
    plan = PassPlan(4, [(0, 1)], ["matched", "random", "identity"], reruns_target=True)
    assert plan.layer_forwards == 2 + 4 + 3 * 3


def test_pairs_at_several_distances_share_what_does_not_depend_on_the_source():
    plan = PassPlan(4, [(0, 1), (0, 2), (1, 2)], ["reconstruct_target", "matched", "composed"])
    assert plan.runs() == [
        ((0, 1), "reconstruct_target"),
        ((0, 1), "matched"),
        ((0, 2), "reconstruct_target"),
        ((0, 2), "matched"),
        ((0, 2), "composed"),
        ((1, 2), "matched"),
    ]
    assert plan.heads == 7
    assert plan.layer_forwards == 3 + 4 + 2 * 2 + 3 * 1 + 1


@pytest.mark.parametrize("reruns", [False, True])
@pytest.mark.parametrize("passes", [1, 3])
def test_passes_are_those_of_a_naive_count(reruns, passes):
    arms = ["reconstruct_target", "layer_drop", "matched", "composed"]
    pairs = pairs_at(collection(*range(6)), [1, 2, 4])
    layers, heads, reconstructed = [], 1, set()
    # For the means no further than the last target.
    layers += range(6)
    for _ in range(passes):
        layers += range(8)
    for source, target in pairs:
        for arm in arms:
            if arm == "composed" and target == source + 1:
                continue
            if arm == "reconstruct_target" and target in reconstructed:
                continue
            if arm == "reconstruct_target":
                reconstructed.add(target)
            layers += range(target if reruns else target + 1, 8)
            heads += 1
    plan = PassPlan(8, pairs, arms, reruns, passes)
    assert (plan.layer_forwards, plan.heads) == (len(layers), heads)


def test_operations_count_each_matrix_product_once():
    plan = PassPlan(n_layers=4, pairs=[(2, 3)], arms=["matched"])
    layers, heads, encoders = 8 * 300, 2 * 10 * 100, 2 * (50 + 60) * 10
    expected = 2 * 7 * (layers + heads + encoders)
    assert plan.floating_point_operations(description(), {2: 50, 3: 60}, tokens=7) == pytest.approx(expected)


def layers_of(pairs):
    return {layer for pair in pairs for layer in pair}


@pytest.mark.parametrize("most", [0, 2, 3, 5, 100])
def test_groups_have_all_pairs_in_order_and_few_enough_layers(most):
    for seed in range(20):
        spans = random.Random(seed).sample(range(1, 8), 3)
        pairs = pairs_at(collection(*range(12)), spans)
        groups = in_memory(pairs, most)
        assert [pair for group in groups for pair in group] == pairs
        assert all(len(layers_of(group)) <= max(2, most) for group in groups)
        # No group could have taken the next one's first pair.
        for group, following in pairwise(groups):
            assert len(layers_of([*group, following[0]])) > max(2, most)


def test_one_clean_pass_is_enough_where_everything_fits():
    pairs = [(layer, layer + 1) for layer in range(10)]
    assert in_memory(pairs, 11) == [pairs]
    assert len(in_memory(pairs, 10)) == 2
    assert in_memory([], 5) == []


def test_an_arm_that_no_pair_has_is_refused():
    with pytest.raises(
        UserError, match=r"arm composed is for layers further apart than neighbours; set evaluation\.spans"
    ):
        refuse_broken_chains(collection(0, 1), [(0, 1)], ["composed"])
    refuse_broken_chains(collection(0, 1), [(0, 1)], ["composed", "matched"])


def test_what_is_composed_must_be_whole():
    with pytest.raises(
        UserError, match=r"arm composed goes from layer 0 to 3 .* layer 1 has no SAE in some/folder; leave"
    ):
        refuse_broken_chains(collection(0, 2, 3), [(0, 3)], ["composed", "matched"])
    refuse_broken_chains(collection(0, 2, 3), [(0, 3)], ["matched"])


@pytest.mark.parametrize(
    ("device", "speed", "sizes"),
    [("cpu", 5e10, [256, 512, 1024]), ("cpu", 1e9, [256]), ("cuda", 6e13, [256, 512, 1024, 2048, 4096])],
)
def test_a_product_is_as_large_as_it_takes_to_be_timed(device, speed, sizes, monkeypatch):
    """A processor without instructions for a type is not asked for a long one."""
    asked = []

    def seconds(_device, _dtype, size):
        asked.append(size)
        return 2.0 * size**3 / speed

    monkeypatch.setattr(plan, "_seconds", seconds)
    assert plan.speed_of.__wrapped__(torch.device(device), torch.float32) == pytest.approx(speed)
    assert sorted(set(asked)) == sizes


def test_the_speed_of_this_machine_is_measured_once():
    here = (torch.device("cpu"), torch.float32)
    assert plan.speed_of(*here) == plan.speed_of(*here) > 0
