"""What is told of where features come from."""

from dataclasses import dataclass, field
from typing import Any

from sae_match.errors import UserError


@dataclass
class ProvenanceSettings:
    """What is told of where features come from, beside the kinds of all.

    Attributes:
        features: Features whose graph over layers and sites is written, as `[[layer,feature],…]`; by default those of
            the last layer that are active most often.
    """

    features: Any = field(default_factory=list)

    def __post_init__(self) -> None:
        checked_features(self.features)


def checked_features(given: Any) -> tuple[tuple[int, int], ...]:
    """Features as pairs of layer and number.

    Raises:
        UserError: If they are none.
    """
    if not isinstance(given, list | tuple):
        raise UserError(f"provenance.features must be a list such as [[3,17],[4,20]], layer and feature, got {given!r}")
    for one in given:
        if not (isinstance(one, list | tuple) and len(one) == 2 and all(type(it) is int and it >= 0 for it in one)):
            raise UserError(f"a feature is a layer and a number, such as [3,17]; got {one!r} in provenance.features")
    return tuple((layer, feature) for layer, feature in given)
