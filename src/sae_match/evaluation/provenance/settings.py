"""What is told of where features come from."""

from dataclasses import dataclass, field
from typing import Any

from sae_match.evaluation.groups.settings import checked_members


@dataclass
class ProvenanceSettings:
    """What is told of where features come from, beside the kinds of all.

    Attributes:
        features: Features whose graph over layers and sites is written, as `[[layer,feature],…]`; by default those of
            the last layer that are active most often.
    """

    features: Any = field(default_factory=list)

    def __post_init__(self) -> None:
        checked_members(self.features, "provenance.features")
