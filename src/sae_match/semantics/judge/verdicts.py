"""What a judge is asked and what it answers, whichever judge it is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sae_match.errors import UserError

#: 1 not comparable, 2 partly or unclear, 3 about the same thing.
LABELS = (1, 2, 3)


@dataclass(frozen=True)
class Described:
    """One side of a pair: a feature in words.

    Attributes:
        text: The description.
        profile: Tokens that the feature fires on and the share of each, where they are known.
    """

    text: str
    profile: tuple[tuple[str, float], ...] = ()


DescribedPair = tuple[Described, Described]
# Told how much is answered and how much there is to answer, in whatever a judge counts.
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a pair.

    Attributes:
        labels: 1, 2 or 3, one for each order of the pair that was asked; empty where the judge gave none.
        detail: Similarity behind the label, of judges that measure one.
        reason: What the judge gives as its reason, of judges that do; else why there is no label.
    """

    labels: tuple[int, ...]
    detail: float | None = None
    reason: str = ""

    @property
    def score(self) -> float:
        """Mean of the labels; nan without any."""
        return sum(self.labels) / len(self.labels) if self.labels else math.nan

    @property
    def label(self) -> int | None:
        """The mean rounded down, so that a pair is "about the same thing" only if every order says so."""
        return sum(self.labels) // len(self.labels) if self.labels else None


@dataclass(frozen=True)
class Estimate:
    """What judging will take if every question is answered at the first try; a further try counts again.

    Attributes:
        calls: Questions to a server that are not answered yet.
        cached: Questions that are.
        tokens_in: Tokens that will be sent, at four characters a token.
        tokens_out: Tokens that will come back if every answer is as long as it may be.
        cost: Dollars for these tokens; none where prices are not known.
        room: Dollars that may be spent; none without a limit.
    """

    calls: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = 0.0
    room: float | None = None

    def __str__(self) -> str:
        price = "at a price that is not known" if self.cost is None else f"about ${self.cost:.2f}"
        said = (
            f"{self.calls:,} calls ({self.cached:,} answered before), about {self.tokens_in:,} tokens in and "
            f"up to {self.tokens_out:,} out, {price}, and more for questions that must be asked again"
        )
        if self.room is None or self.cost is None or self.cost <= self.room:
            return said
        return (
            f"{said}; judge.limit leaves ${self.room:.2f}: should that not do, the run ends there, with its answers "
            "kept, and has no results until the same command with a higher limit has all of them"
        )


@runtime_checkable
class Judge(Protocol):
    """Says of pairs of descriptions whether they mean the same.

    Attributes:
        name: For tables.
    """

    name: str

    def obstacle(self) -> str | None:
        """What keeps it from judging what it has not judged before; none where nothing does.

        Found at once and without judging, so that nobody prepares questions for long that cannot be asked.

        Raises:
            UserError: If it has judged nothing before, so that it cannot judge at all.
        """
        ...

    def estimate(self, pairs: Sequence[DescribedPair]) -> Estimate:
        """What judging these pairs would take; asks nobody."""
        ...

    def judge(self, pairs: Sequence[DescribedPair], watch: Watch = ...) -> list[Verdict]:
        """A verdict for each pair, in their order; pairs that occur twice are judged once.

        Raises:
            UserError: If the judge cannot go on.
        """
        ...


@dataclass(frozen=True)
class Cuts:
    """Two thresholds that turn a similarity into a label.

    Attributes:
        partly: Least similarity of label 2.
        same: Least similarity of label 3.
    """

    partly: float
    same: float

    @classmethod
    def of(cls, given: Sequence[float]) -> "Cuts":
        """Cuts from settings.

        Raises:
            UserError: If they are not two ascending numbers.
        """
        if len(given) != 2 or not given[0] <= given[1]:
            raise UserError(f"judge.cuts must be two ascending similarities such as [0.1,0.4], got {list(given)}")
        return cls(*given)

    def label(self, similarity: float) -> int:
        """1 below both cuts, 2 between them, 3 from the upper one on."""
        return 1 + (similarity >= self.partly) + (similarity >= self.same)


def silent(_done: int, _total: int) -> None:
    """Watches nothing."""
