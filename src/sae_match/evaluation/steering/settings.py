"""What steering can be told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sae_match.errors import UserError
from sae_match.evaluation.groups.settings import checked_members

#: Where a direction is added: the feature's own at the first layer of its path; or, of each feature of a path, at its.
FIRST, EACH = "first", "each"
WHERE = (FIRST, EACH)


@dataclass
class SteeringSettings:
    """Which features' directions are added, how strongly and where.

    Attributes:
        features: Where paths begin, as `[[layer,feature],…]`; none: nothing is steered.
        strengths: Multiples of a feature's typical activation, its median where it is active; negative ones take away.
        where: `first` (at the first layer alone), `each` (at each layer of a path, the direction of its feature there).
        documents: Documents of each dataset, the first of them.
    """

    features: Any = field(default_factory=list)
    strengths: list[float] = field(default_factory=lambda: [1.0])
    where: list[str] = field(default_factory=lambda: list(WHERE))
    documents: int = 8

    def __post_init__(self) -> None:
        checked_members(self.features, "steering.features")
        refuse_impossible_steering(self.strengths, self.where)
        if self.documents < 1:
            raise UserError(f"steering.documents must be at least 1, got {self.documents}")


def refuse_impossible_steering(strengths: Sequence[float], where: Sequence[str]) -> None:
    """Check how strongly and where.

    Raises:
        UserError: If nothing would be added, or somewhere else.
    """
    numbers = [one for one in strengths if isinstance(one, int | float) and not isinstance(one, bool)]
    if not strengths or len(numbers) < len(strengths) or not all(0 < abs(one) < float("inf") for one in numbers):
        raise UserError(
            "a strength is a multiple of the feature's typical activation, such as 1 or -2, and not 0; got "
            f"{list(strengths)}"
        )
    if not where or not set(where) <= set(WHERE):
        raise UserError(f"directions are added at {' or '.join(WHERE)}; got {list(where)}")
