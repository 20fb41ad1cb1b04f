"""The second pass over the evaluated text: every pair of layers and every arm is measured."""

import logging
from functools import partial

from jaxtyping import Float64
from torch import Tensor

from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.measuring import measure_batch
from sae_match.evaluation.passes.state import Pass, State, Tell
from sae_match.evaluation.statistics.streaming import CPU
from sae_match.evaluation.statistics.tally import Tally
from sae_match.text.batches import TokenBatch

log = logging.getLogger(__name__)


class MeasuringPass(Pass):
    """Measures this process's share of the evaluated text, and adds up what all have found.

    Args:
        state: What is known of the validation; its survey is over when this begins.
        seed: Of the bootstrap.
        tell: Told what is done: pairs of layers, of all batches.
    """

    name, stays = "validating", True

    def __init__(self, state: State, seed: int, tell: Tell) -> None:
        self.state, self.seed, self.tell = state, seed, tell

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
                log.warning("no feature of the SAE of layer %d is ever active on dataset %s", layer, dataset)

    @property
    def _tally(self) -> Tally:
        if self.state.tally is None:
            raise ValueError("nothing is measured before the text is surveyed")
        return self.state.tally

    def _tell(self, before: int, of: int, done: int) -> None:
        self.tell(self.name, before + done, of)
