"""The last pass over the evaluated text: features are switched off, and what their partners do is looked at."""

import logging
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.causal.effects import Effects
from sae_match.evaluation.causal.live import LiveFeatures
from sae_match.evaluation.causal.sample import Sample, sampled
from sae_match.evaluation.causal.switching import Switching
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.passes.processes import Processes
from sae_match.evaluation.passes.state import Pass, State, Tell
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.text.batches import TokenBatch

log = logging.getLogger(__name__)


class CausalPass(Pass):
    """Switches features of each pair of layers off in this process's share of the evaluated text.

    Which features, and in which documents, follows from the weights, the survey of all text and the seed: numbers are
    the same on any number of processes.

    Args:
        state: What is known of the validation; its survey is over when this begins.
        settings: What is measured.
        tell: Told what is done: pairs of layers, of all batches.

    Attributes:
        live: How often features are active; to be shown them by the survey.
    """

    name, stays = "switching off", True

    def __init__(self, state: State, settings: EvaluationSettings, tell: Tell) -> None:
        self.state, self.settings, self.tell, self.live = state, settings, tell, LiveFeatures()
        self._samples: dict[Pair, Sample] = {}
        self._effects: dict[Pair, Effects] = {}

    def start(self) -> None:
        """Draw features, with no effects yet.

        Raises:
            UserError: If no feature of any pair of layers can be switched off.
        """
        state, subject = self.state, self.state.subject
        for pair in state.layout.pairs if not self._samples else ():
            ends = subject.ends(pair)
            subject.turn_to(ends)
            source, target = (subject.open_sae(end) for end in ends)
            known = ends, state.matchings[pair], self.live, list(state.layout.datasets), self.settings.causal
            self._samples[pair] = sampled(
                pair, (source, target), *known, alpha=self.settings.alpha, seed=self.settings.seed
            )
        _say_what_is_silent(self._samples)
        self._effects = {pair: Effects(len(sample), sample.width) for pair, sample in self._samples.items()}

    def entries(self) -> int | None:
        """How many sums there are: that follows from the text."""
        return None

    def add(self, number: int, batch: TokenBatch, batches: int) -> None:
        """Switch features off in a batch."""
        subject, datasets = self.state.subject, list(self.state.layout.datasets)
        done, pairs = number * len(self._samples), len(self._samples)
        for group in self.state.groups:
            at = BatchMeasurement.captured(subject, batch, group)
            for position, pair in enumerate(group):
                subject.turn_to(subject.ends(pair))
                # Again and again, so that a wish to end is heeded within a batch.
                told = partial(self.tell, self.name, done, batches * pairs)
                Switching(at, self._samples[pair], datasets, self.settings.seed).add_to(self._effects[pair], told)
                at.forget_all_but(group[position + 1 :])
                done += 1
        self.tell(self.name, done, batches * pairs)

    def flat(self) -> Float64[Tensor, " entries"]:
        """All effects in one vector."""
        return torch.cat([effects.flat() for effects in self._effects.values()])

    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Go on from what `flat` gave.

        Raises:
            ValueError: If it cannot have given that.
        """
        rest = flat
        for effects in self._effects.values():
            rest = effects.fill(rest)
        if len(rest):
            raise ValueError(f"{len(rest)} of its effects are of nothing")

    def finish(self) -> None:
        """Have the effects that all processes have found."""
        parts = all_of(self.state.processes, self.flat())
        if len(parts) > 1:
            self._effects = {pair: Effects(len(sample), sample.width) for pair, sample in self._samples.items()}
            for part in parts:
                self.fill(part)
        self.state.causal = {pair: (sample, self._effects[pair]) for pair, sample in self._samples.items()}


def all_of(processes: Processes, flat: Float64[Tensor, " entries"]) -> list[Float64[Tensor, " entries"]]:
    """What each process has, of whatever length."""
    lengths = [int(one) for one in processes.gathered(torch.tensor([len(flat)]))]
    if len(lengths) == 1:
        return [flat]
    padded = torch.cat([flat, flat.new_zeros(max(lengths) - len(flat))])
    return [one[:length] for one, length in zip(processes.gathered(padded), lengths, strict=True)]


def _say_what_is_silent(samples: dict[Pair, Sample]) -> None:
    """Say which features were left out because they are active nowhere.

    Raises:
        UserError: If that is every one.
    """
    for pair, sample in samples.items():
        if sample.silent:
            verb = "feature with a partner is" if sample.silent == 1 else "features with a partner are"
            log.info("layers %d and %d: %d %s active nowhere, and not switched off", *pair, sample.silent, verb)
    if not any(map(len, samples.values())):
        raise UserError(
            "evaluation.causal: no feature that has a partner is active on any document, so none can be switched off; "
            "take more text, or another matcher"
        )
