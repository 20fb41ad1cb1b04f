"""The first pass over the evaluated text: means of residuals and features, which all sums are taken about."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from sae_match.evaluation.passes.state import Pass, State, Tell
from sae_match.evaluation.passes.subject import Subject
from sae_match.evaluation.relations.collecting import RelativesCollector
from sae_match.evaluation.statistics.layout import Layout
from sae_match.evaluation.statistics.tally import Tally
from sae_match.evaluation.survey import Observer, Survey
from sae_match.text.batches import TokenBatch

# Stands for minus infinity, with which observers fill what they have not seen yet: what is kept is finite.
_NOTHING = torch.finfo(torch.float64).min


class SurveyPass(Pass):
    """Surveys this process's share of the evaluated text, and adds up what all have found.

    Args:
        state: What is known of the validation.
        observers: Shown every layer's features.
        tell: Told what is done.
        relatives: Collects what relatives do, where that is asked for.
    """

    name, stays = "surveying", True

    def __init__(
        self,
        state: State,
        observers: Sequence[Observer],
        tell: Tell,
        relatives: RelativesCollector | None = None,
    ) -> None:
        self.state, self.observers, self.tell, self.relatives = state, observers, tell, relatives

    def start(self) -> None:
        """Begin with empty sums."""
        layout = self.state.layout
        self.state.survey = Survey(layout, self.state.device)
        for observer in self.observers:
            observer.start({layer: layout.features[layer] for layer, _ in layout.layers()}, layout.datasets)
        if self.relatives is not None:
            self.relatives.start()

    def entries(self) -> int | None:
        """How many sums there are; none with relatives, of which there is a number for each active feature."""
        return len(self.flat()) if self.relatives is None else None

    def add(self, number: int, batch: TokenBatch, batches: int) -> None:
        """Add a batch."""
        state = self.state
        state.survey.add(state.subject, batch, state.groups, self.observers, self.relatives)
        self.tell(self.name, number + 1, batches)

    def flat(self) -> Float64[Tensor, " entries"]:
        """All sums, all that observers saw and what relatives did, in one vector."""
        seen = [observer.flat().double().clamp_min(_NOTHING) for observer in self.observers]
        return torch.cat(
            [self.state.survey.flat(), *seen, *([] if self.relatives is None else [self.relatives.flat()])]
        )

    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Go on from what `flat` gave.

        Raises:
            ValueError: If it cannot have given that.
        """
        seen, own = [observer.flat() for observer in self.observers], len(self.state.survey.flat())
        sizes = [own, *map(len, seen)]
        if len(flat) < sum(sizes):
            raise ValueError("its sums are cut off")
        sums, *parts, rest = flat.split([*sizes, len(flat) - sum(sizes)])
        if self.relatives is not None:
            # First: it refuses what is not its own.
            self.relatives.fill(rest)
        self.state.survey.fill(sums.clone())
        for observer, before, part in zip(self.observers, seen, parts, strict=True):
            if len(part):
                observer.fill([torch.where(part == _NOTHING, -torch.inf, part).to(before.dtype)])

    def finish(self) -> None:
        """Have what all processes have seen, and sums over nothing, about the means, for what is measured next."""
        state = self.state
        if state.processes.count > 1:
            state.survey.fill(state.processes.summed(state.survey.flat()))
            for observer in self.observers:
                observer.fill(state.processes.gathered(observer.flat()))
        if self.relatives is not None:
            state.relatives = self.relatives.found(state.processes.summed, partial(self.tell, "relatives"))
        state.tally = tally_about(state.survey, state.subject, state.layout, state.device)


def tally_about(survey: Survey, subject: Subject, layout: Layout, device: torch.device) -> Tally:
    """Sums over nothing, about the means that a survey of all text has found, on a device."""
    tally = Tally(layout, device=device)
    tally.refer(survey.references(subject, layout))
    tally.refer(survey.normed_references(subject, layout), normed=True)
    tally.landmarks = {key: one.to(device) for key, one in survey.landmarks(layout).items()}
    return tally
