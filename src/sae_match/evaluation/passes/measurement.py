"""The second pass over the evaluated text: every pair of layers and every arm is measured."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from jaxtyping import Float64
from torch import Tensor

from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.arm_names import OF_TARGET_ALONE
from sae_match.evaluation.measuring import BatchMeasurement
from sae_match.evaluation.passes.state import Pass, State, Tell
from sae_match.evaluation.passes.subject import Subject
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.streaming import CPU
from sae_match.evaluation.statistics.tally import Tally
from sae_match.saes.two import end_name
from sae_match.text.batches import TokenBatch

log = logging.getLogger(__name__)


class MeasuringPass(Pass):
    """Measures this process's share of the evaluated text, and adds up what all have found.

    Args:
        state: What is known of the validation; its survey is over when this begins.
        seed: Of the bootstrap.
        tell: Told what is done: pairs of layers, of all batches.
        names: Of two collections, if there are two.
    """

    name, stays = "validating", True

    def __init__(self, state: State, seed: int, tell: Tell, names: tuple[str, str] | None = None) -> None:
        self.state, self.seed, self.tell, self.names = state, seed, tell, names

    def start(self) -> None:
        """Begin with the empty sums that the survey has left."""

    def entries(self) -> int:
        """How many sums there are."""
        return len(self.flat())

    def add(self, number: int, batch: TokenBatch, batches: int) -> None:
        """Measure a batch."""
        state, pairs = self.state, len(self.state.layout.pairs)
        weights = bootstrap_weights(batch.dataset, batch.documents, self.seed).to(state.device)
        self.tell(self.name, number * pairs, batches * pairs)
        told = partial(self._tell, number * pairs, batches * pairs)
        measure_batch(state.subject, batch, state.groups, self._tally, weights, told)

    def flat(self) -> Float64[Tensor, " entries"]:
        """All sums in one vector."""
        return self._tally.flat()

    def fill(self, flat: Float64[Tensor, " entries"]) -> None:
        """Go on from what `flat` gave."""
        self._tally.fill(flat)

    def finish(self) -> None:
        """Have the sums of all processes, on the CPU, where results are found from them."""
        tally, processes = self._tally.on(CPU), self.state.processes
        if processes.count > 1:
            tally.fill(processes.summed(tally.flat()))
        self.state.tally = tally
        for layer, dataset in tally.layout.layers():
            if tally.documents(dataset) and not tally.active((layer, dataset)).any():
                named = end_name(layer, self.names)
                log.warning("no feature of the SAE of layer %s is ever active on dataset %s", named, dataset)

    @property
    def _tally(self) -> Tally:
        if self.state.tally is None:
            raise ValueError("nothing is measured before the text is surveyed")
        return self.state.tally

    def _tell(self, before: int, of: int, done: int) -> None:
        self.tell(self.name, before + done, of)


def measure_batch(
    subject: Subject,
    batch: TokenBatch,
    groups: Sequence[Sequence[Pair]],
    tally: Tally,
    weights: Float64[Tensor, "rows documents"],
    watch: Callable[[int], None] = lambda _: None,
) -> None:
    """Add a batch to a tally.

    Args:
        subject: What is measured.
        batch: On which text.
        groups: Pairs whose residuals are held at one time; a clean pass for each group.
        tally: Added to.
        weights: How often each replicate counts each document of the batch.
        watch: Told how many pairs are done.

    Raises:
        UserError: If a loss is not finite.
    """
    seen: set[int] = set()
    reached: set[int] = set()
    done = 0
    for number, pairs in enumerate(groups):
        at = BatchMeasurement.captured(subject, batch, pairs)
        if number == 0:
            tally.add_clean(batch.dataset, at.clean_losses(), weights)
        for position, pair in enumerate(pairs):
            subject.turn_to(subject.ends(pair))
            for layer in set(subject.ends(pair)) - seen:
                at.add_layer(layer, tally, weights)
                seen.add(layer)
            arms = [arm for arm in subject.arms_of(pair) if arm not in OF_TARGET_ALONE or pair[1] not in reached]
            at.add_pair(pair, arms, tally, weights)
            reached.add(pair[1])
            at.forget_all_but(pairs[position + 1 :])
            done += 1
            watch(done)
        at.refuse_not_finite()
