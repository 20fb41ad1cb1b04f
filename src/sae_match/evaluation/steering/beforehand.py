"""Whether features that are to be steered or grouped are there, before anything is matched or read."""

from typing import TYPE_CHECKING

from sae_match.errors import UserError
from sae_match.evaluation.groups.settings import GroupSettings, checked_members
from sae_match.evaluation.passes.costs import several
from sae_match.evaluation.steering.settings import SteeringSettings
from sae_match.saes.collection import SAECollection

if TYPE_CHECKING:
    from sae_match.evaluation.check import Findings

Member = tuple[int, int]
"""Layer and number of a feature."""


def asked_of(
    saes: SAECollection, steering: SteeringSettings, groups: GroupSettings
) -> tuple[list[Member], list[Member]]:
    """Features that paths begin with, and features that are grouped.

    Raises:
        UserError: If one is not there, no path can begin with it, or the SAEs do not read the residual stream.
    """
    if saes.site != "residual":
        raise UserError(f"directions are added to the residual stream, and these SAEs read the site {saes.site}")
    starts = checked_members(steering.features, "steering.features")
    members = checked_members(groups.features, "groups.features")
    # The largest of each layer.
    last = dict(sorted((*starts, *members)))
    for layer, feature in last.items():
        saes.refuse_unknown(layer)
        width = saes.describe_sae(layer).d_sae
        if width is not None and feature >= width:
            raise UserError(f"there is no feature {feature} of layer {layer}, which has {width}")
    for layer, feature in starts:
        if layer == max(saes.layers):
            raise UserError(f"feature {feature} of layer {layer}: no path begins in the last layer, {layer}")
        saes.refuse_unknown(layer + 1)
    return starts, members


def check_steering(
    findings: "Findings", saes: SAECollection, steering: SteeringSettings, groups: GroupSettings, rotations: int
) -> None:
    """Note what a run would add and group in place of a validation, and what is missing of it.

    Args:
        findings: Where it is noted.
        saes: SAEs of the residual stream.
        steering: Features whose directions are added.
        groups: Features and prompts that are grouped.
        rotations: Random dictionaries that matchings are judged by.
    """
    with findings.about("steering") as say:
        starts, _ = asked_of(saes, steering, groups)
        if starts:
            layers = sorted({layer for layer, _ in starts})
            say(
                f"{several(len(starts), 'feature')} of layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}, "
                f"at {' and at '.join(f'{place} layer' for place in steering.where)}, by "
                f"{', '.join(f'{one:g}' for one in steering.strengths)} typical activations, in "
                f"{several(steering.documents, 'document')} of each dataset at most"
            )
    if groups.asked:
        with findings.about("groups") as say:
            refuse_unjudged(rotations)
            features, prompts = several(len(groups.features), "feature"), several(len(groups.prompts), "prompt")
            say(f"{features} and those of {prompts}, by significant matchings")


def refuse_unjudged(rotations: int) -> None:
    """Check that matchings are judged, which features are grouped by.

    Raises:
        UserError: If they are not.
    """
    if rotations < 1:
        raise UserError("features are grouped by significant matchings: set evaluation.rotations to at least 1")
