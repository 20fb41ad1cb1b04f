"""What a judge is shown of a feature: a published description, or where the feature fires."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Int64
from torch import Tensor

from sae_match.semantics.judge import Described
from sae_match.semantics.passages import Passage, Passages
from sae_match.semantics.questions import Question

_EXAMPLES = 3


@runtime_checkable
class Evidence(Protocol):
    """Says of features what a judge is shown."""

    def fetch(self, questions: Iterable[Question], watch: Callable[[int, int], None]) -> None:
        """Have at hand what these questions are about."""

    def known(self, layer: int) -> list[bool]:
        """Of each feature of a layer, whether there is anything to show."""

    def of(self, layer: int, feature: int) -> Described:
        """What is shown; an empty text where there is nothing."""


@runtime_checkable
class DescriptionLookup(Protocol):
    """Where published descriptions of features are looked up."""

    def known(self, layer: int, features: int) -> list[bool]:
        """Of each feature of a layer, whether it has, or may have, a description."""

    def of(self, layer: int, feature: int) -> str | None:
        """The description of a feature; none where it has none."""

    def fetch(self, wanted: Mapping[int, Collection[int]], watch: Callable[[str, int, int], None]) -> None:
        """Have the descriptions of features of each layer at hand."""


class WhereItFires:
    """What a feature fires on, in words of the text: its tokens, and the strongest passages.

    Args:
        passages: Collected on some text.
        active: Tokens on which each feature was active, by layer.
    """

    def __init__(self, passages: Passages, active: Mapping[int, Int64[Tensor, " d_sae"]]) -> None:
        self.passages, self.active = passages, active

    def fetch(self, questions: Iterable[Question], watch: Callable[[int, int], None]) -> None:
        """All of it is at hand."""

    def known(self, layer: int) -> list[bool]:
        """Whether a feature was ever active."""
        return [bool(count) for count in (self.active[layer] > 0).tolist()]

    def of(self, layer: int, feature: int) -> Described:
        """Tokens with their shares, and passages with the token marked."""
        if not self.active[layer][feature]:
            return Described("")
        passages = self.passages.strongest(layer, feature)[:_EXAMPLES]
        examples = "; ".join(_marked(passage) for passage in passages)
        text = f"Active on the tokens {self.passages.label(layer, feature)}. Strongest in: {examples}"
        return Described(text, tuple(self.passages.profile(layer, feature)))


class Published:
    """Published descriptions.

    Args:
        descriptions: Of the features of a collection.
        widths: Features of each layer.
    """

    def __init__(self, descriptions: DescriptionLookup, widths: Mapping[int, int]) -> None:
        self.descriptions, self.widths = descriptions, widths

    def fetch(self, questions: Iterable[Question], watch: Callable[[int, int], None]) -> None:
        """Have at hand what these questions are about; single features are asked for one by one, which may take long.

        Args:
            questions: About pairs of features.
            watch: Told how many features of a layer are there, and of how many.

        Raises:
            UserError: If descriptions should be there and cannot be had.
        """
        wanted: defaultdict[int, set[int]] = defaultdict(set)
        for question in questions:
            wanted[question.ends[0]].add(question.source_feature)
            wanted[question.ends[1]].add(question.target_feature)
        self.descriptions.fetch(wanted, lambda _, done, total: watch(done, total))

    def known(self, layer: int) -> list[bool]:
        """Whether a feature has a description, or may have one that was not asked for yet."""
        return self.descriptions.known(layer, self.widths[layer])

    def of(self, layer: int, feature: int) -> Described:
        """The description."""
        return Described(self.descriptions.of(layer, feature) or "")


def _marked(passage: Passage) -> str:
    """A passage in one line, the token that the feature fires on between angle quotes."""
    before, at, after = (
        "".join(part)
        for part in (
            passage.tokens[: passage.position],
            passage.tokens[passage.position : passage.position + 1],
            passage.tokens[passage.position + 1 :],
        )
    )
    return " ".join(f"{before}«{at}»{after}".split())
