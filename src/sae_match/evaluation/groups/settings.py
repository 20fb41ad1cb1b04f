"""What is told of groups of features."""

from dataclasses import dataclass, field
from typing import Any

from sae_match.errors import UserError

#: Features of each layer that are taken of a prompt, the strongest.
MOST = 10


@dataclass
class GroupSettings:
    """Which features are grouped over layers by significant matchings.

    Attributes:
        features: As `[[layer,feature],…]`.
        prompts: Texts: of each, the features that it activates are grouped.
        most: Features of each layer that are taken of a prompt, the strongest.
    """

    features: Any = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    most: int = MOST

    @property
    def asked(self) -> bool:
        """Whether anything is grouped."""
        return bool(self.features or self.prompts)

    def __post_init__(self) -> None:
        checked_members(self.features, "groups.features")
        refuse_impossible_prompts(self.prompts)
        if self.most < 1:
            raise UserError(f"groups.most must be at least 1, got {self.most}")


def checked_members(given: Any, name: str) -> list[tuple[int, int]]:
    """Features as pairs of layer and number, each once.

    Args:
        given: By a user, as `[[layer,feature],…]`.
        name: Of the setting or argument.

    Raises:
        UserError: If they are none.
    """
    if not isinstance(given, list | tuple):
        raise UserError(f"{name} must be a list such as [[3,17],[4,20]], layer and feature, got {given!r}")
    for one in given:
        if not (isinstance(one, list | tuple) and len(one) == 2 and all(type(it) is int and it >= 0 for it in one)):
            raise UserError(f"a feature is a layer and a number, such as [3,17]; got {one!r} in {name}")
    return list(dict.fromkeys((layer, feature) for layer, feature in given))


def refuse_impossible_prompts(prompts: Any) -> None:
    """Check that prompts are texts.

    Raises:
        UserError: If one is none.
    """
    if isinstance(prompts, str) or not all(isinstance(one, str) and one.strip() for one in prompts):
        raise UserError(f"prompts are texts in a list, such as ['The capital of France is']; got {prompts!r}")
