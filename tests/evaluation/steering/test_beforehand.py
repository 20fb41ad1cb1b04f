"""What is said of steering and groups before anything is matched or read."""

import pytest

from sae_match import bundled
from sae_match.errors import UserError
from sae_match.evaluation.check import Findings
from sae_match.evaluation.groups.settings import GroupSettings
from sae_match.evaluation.steering.beforehand import asked_of, check_steering
from sae_match.evaluation.steering.settings import SteeringSettings
from sae_match.saes.collection import SAECollection


@pytest.fixture
def saes():
    return SAECollection(
        "gemma_scope", str(bundled.path("saes")), layers={3: {"width": "1k", "l0": 6}, 4: {"width": "1k", "l0": 8}}
    )


def noted(saes, steering, groups, rotations=8):
    findings = Findings([("model", "a model")])
    check_steering(findings, saes, steering, groups, rotations)
    return dict(findings.rows), findings.missing


def test_steering_is_said(saes):
    rows, missing = noted(saes, SteeringSettings([[3, 1], [3, 2]], [1.0, -2.0]), GroupSettings())
    assert missing == []
    assert rows == {
        "model": "a model",
        "steering": "2 features of layer 3, at first layer and at each layer, by 1, -2 typical activations, in 8 "
        "documents of each dataset at most",
    }


def test_groups_are_said(saes):
    rows, missing = noted(saes, SteeringSettings(), GroupSettings([[3, 1]], ["a prompt"]))
    assert missing == []
    assert rows["groups"] == "1 feature and those of 1 prompt, by significant matchings"


@pytest.mark.parametrize(
    ("steering", "groups", "rotations", "message"),
    [
        ([[3, 1024]], [], 8, "steering: there is no feature 1024 of layer 3, which has 1024"),
        ([[4, 1]], [], 8, "steering: feature 1 of layer 4: no path begins in the last layer, 4"),
        ([[9, 1]], [], 8, "steering: no SAE for layer 9"),
        ([], [[4, 5000]], 8, "steering: there is no feature 5000 of layer 4"),
        ([], [[4, 5]], 0, "groups: features are grouped by significant matchings: set evaluation.rotations"),
    ],
)
def test_what_is_not_there_is_missing(saes, steering, groups, rotations, message):
    _, missing = noted(saes, SteeringSettings(steering), GroupSettings(groups), rotations)
    assert [line[: len(message)] for line in missing] == [message]


def test_no_path_leads_over_a_layer_that_was_left_out(saes):
    apart = SAECollection(saes.format, saes.source, layers={3: saes.layers[3], 5: {"width": "1k", "l0": 9}})
    with pytest.raises(UserError, match="no SAE for layer 4"):
        asked_of(apart, SteeringSettings([[3, 1]]), GroupSettings())
