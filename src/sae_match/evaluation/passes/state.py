"""What a validation knows: the pieces that its passes hand on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float64
from torch import Tensor

from sae_match.evaluation.causal.effects import Effects
from sae_match.evaluation.causal.sample import Sample
from sae_match.evaluation.matchings import PairMatchings
from sae_match.evaluation.passes.processes import ALONE, Processes
from sae_match.evaluation.passes.subject import Subject
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.relations.collecting import RelativesOnText
from sae_match.evaluation.statistics.layout import Layout
from sae_match.evaluation.statistics.tally import Tally
from sae_match.evaluation.survey import Survey
from sae_match.text.batches import TokenBatch

Tell = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much; heeds a wish to end by an exception."""


@dataclass
class State:
    """What a validation knows; each pass adds to it.

    Attributes:
        subject: What is measured; after the fitting with affine maps and means.
        matchings: Of each pair of layers; after the fitting with those by co-activation.
        layout: What there will be numbers of.
        groups: Pairs whose residuals are held at one time.
        device: Where the model is.
        processes: Those that share the validation.
        survey: Means over the evaluated text: of what this process has seen, then of all.
        tally: After the survey, the sums of what is measured: of this process's share, in the end of all.
        relatives: After the survey, what relatives do on the text; nothing where that was not asked.
        causal: In the end, which features of each pair of layers were switched off, and what followed; likewise.
    """

    subject: Subject
    matchings: dict[Pair, PairMatchings]
    layout: Layout
    groups: Sequence[Sequence[Pair]]
    device: torch.device
    processes: Processes = ALONE
    survey: Survey = field(init=False)
    tally: Tally | None = None
    relatives: RelativesOnText = field(default_factory=RelativesOnText)
    causal: Mapping[Pair, tuple[Sample, Effects]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.survey = Survey(self.layout, self.device)


class Pass(ABC):
    """A pass over text: one data loader, whose batches are added up.

    Attributes:
        name: What progress calls it.
        stays: Whether a later run goes on from its sums also when it is over; else what follows from them is kept.
    """

    name: ClassVar[str]
    stays: ClassVar[bool]

    @abstractmethod
    def start(self) -> None:
        """Begin with empty sums."""

    @abstractmethod
    def entries(self) -> int | None:
        """How many sums there are; none where that follows from the text."""

    @abstractmethod
    def add(self, number: int, batch: TokenBatch, batches: int) -> None:
        """Add a batch with documents; `number` of so many `batches` that this process has."""

    @abstractmethod
    def flat(self) -> Float64[Tensor, " entries"]:
        """All that was added, in one vector."""

    @abstractmethod
    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Go on from what `flat` gave.

        Raises:
            ValueError: If it cannot have given that.
        """

    @abstractmethod
    def finish(self) -> None:
        """When every process has added its batches: leave what the next pass needs, the same in every process."""
