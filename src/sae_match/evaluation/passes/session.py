"""A validation while text streams by: its passes in their order, and what of them is kept for an interrupted run."""

import logging
import time
from collections.abc import Sequence

from sae_match.evaluation.passes.state import Pass
from sae_match.evaluation.resuming import Unfinished, UnfinishedRun
from sae_match.text.batches import TokenBatch

log = logging.getLogger(__name__)


class Session:
    """Takes every batch to the pass that it is of; a pass ends with its last batch, in every process at the same step.

    Args:
        passes: In their order: one for each data loader.
        batches: How many batches of each pass this process is given; as many in every process.
        kept: What an earlier run has left, and where this one keeps what it has.
    """

    def __init__(self, passes: Sequence[Pass], batches: Sequence[int], kept: UnfinishedRun) -> None:
        self.passes, self.batches, self.kept = passes, batches, kept
        self._number: int | None = None
        self._finished: set[int] = set()
        self._kept_at = time.perf_counter()

    def step(self, batch: TokenBatch, number: int, of: int) -> None:
        """Take a batch to its pass, unless an earlier run has finished it.

        Args:
            batch: It may be empty.
            number: Of the batch in its pass.
            of: Number of the pass.
        """
        one, batches = self.passes[of], self.batches[of]
        if of != self._number:
            self._number = of
            self._begin(one, batches)
        if number not in self._finished and batch.documents:
            one.add(number, batch, batches)
            self._finished.add(number)
            if self._part(one).is_due(time.perf_counter() - self._kept_at):
                self._keep(one)
        if number + 1 == batches:
            self._end(one)

    def forget(self) -> None:
        """Remove what the same validation would go on from: its results are written."""
        self.kept.remove()

    def _begin(self, one: Pass, batches: int) -> None:
        one.start()
        self._finished, self._kept_at = set(), time.perf_counter()
        part = self._part(one)
        if (found := part.found(one.entries(), batches)) is None:
            return
        try:
            one.fill(found[0])
        except ValueError as error:
            part.say_unusable(error)
            one.start()
            return
        self._finished = found[1]
        log.info("%s: going on after %d batches that an earlier run has finished", one.name, len(self._finished))

    def _end(self, one: Pass) -> None:
        self._keep(one)
        one.finish()
        if not one.stays:
            self._part(one).remove()

    def _keep(self, one: Pass) -> None:
        self._part(one).keep(one.flat(), self._finished)
        self._kept_at = time.perf_counter()

    def _part(self, one: Pass) -> Unfinished:
        return self.kept.part(one.name.split()[0])
