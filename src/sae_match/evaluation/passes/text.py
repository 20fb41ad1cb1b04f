"""The text of a validation, as Lightning streams it: a data loader for each pass."""

import logging
from collections.abc import Callable
from typing import Any, cast

import lightning as L
from torch.utils.data import DataLoader

from sae_match.errors import UserError
from sae_match.evaluation.fitting import refuse_common_documents
from sae_match.text.batches import TextData, TokenBatch, loader_of, own_share

log = logging.getLogger(__name__)


class ValidationText(L.LightningDataModule):
    """The text that a validation is made on, and the text that arms are fitted on before.

    Its loaders are those of the passes, in their order: the fitting text, where an arm of the module needs one; the
    evaluated text for the survey; the same again for the measurement. Of several processes each is given all of the
    fitting text, of which it fits its share of the pairs, and its share of the evaluated batches.

    Args:
        evaluated: The text that arms are measured on.
        fitting: Other text, for arms that are fitted.
    """

    def __init__(self, evaluated: TextData, fitting: TextData | None = None) -> None:
        super().__init__()
        self.evaluated, self.fitting, self.prepare_data_per_node = evaluated, fitting, False

    @property
    def texts(self) -> list[TextData]:
        """Both, or the one that there is."""
        return [self.evaluated] if self.fitting is None else [self.evaluated, self.fitting]

    def prepare_data(self) -> None:
        """Draw the documents of both, in one process; no document may be in both.

        Raises:
            UserError: If one is.
        """
        for text in self.texts:
            text.prepare_data()
        if self.fitting is not None:
            for dataset, works in self.fitting.works.items():
                refuse_common_documents(works, self.evaluated.works.get(dataset, ()))

    def setup(self, stage: str) -> None:
        """Have the documents in every process."""
        if self.trainer is not None and self.trainer.world_size > 1:
            for text in self.texts:
                text.take_from_first(self.trainer.strategy.broadcast)
        else:
            self.prepare_data()

    def measured(self, batches: int) -> list[TokenBatch]:
        """What all processes together measure, each so many batches of the evaluated text."""
        processes = 1 if self.trainer is None else self.trainer.world_size
        shares = (own_share(self.evaluated.batches, rank, processes) for rank in range(processes))
        return [batch for share in shares for batch in share[:batches]]

    def val_dataloader(self) -> list[DataLoader[TokenBatch]]:
        """The loaders of the passes.

        Raises:
            UserError: If the trainer's limit leaves nothing of one.
        """
        if self.trainer is None:
            raise RuntimeError("the passes of a validation are those of a trainer's module")
        share = own_share(self.evaluated.batches, self.trainer.global_rank, self.trainer.world_size)
        needed = bool(getattr(self.trainer.lightning_module, "needs_fitting", False))
        first = [] if self.fitting is None or not needed else [self.fitting.batches]
        causal = [share] if getattr(self.trainer.lightning_module, "switches_off", False) else []
        passes = [*first, share, share, *causal]
        _refuse_nothing(cast(Any, self.trainer).limit_val_batches, min(map(len, passes)))
        return [loader_of(batches) for batches in passes]


def _refuse_nothing(limit: float | int, batches: int) -> None:
    """Check that a share of the batches of each pass is one batch at least.

    Raises:
        UserError: If it is none.
    """
    if isinstance(limit, float) and int(limit * batches) == 0:
        raise UserError(
            f"trainer.limit_val_batches={limit} is not one batch of the {batches} that each process has in a pass: "
            "take a larger share, a number of batches, or a smaller text.batch"
        )


def say_what_was_limited(text: ValidationText, measured: Callable[[str], int]) -> None:
    """Say of how few documents the numbers are, where the trainer was to leave some out.

    Args:
        text: What there is.
        measured: How many documents of a dataset were measured.
    """
    for dataset in dict.fromkeys(batch.dataset for batch in text.evaluated.batches):
        there = sum(len(batch.documents) for batch in text.evaluated.batches if batch.dataset == dataset)
        if not (found := measured(dataset)):
            log.warning(f"trainer.limit_val_batches: nothing of {dataset} was read; datasets follow one another")
        elif found < there:
            said = f"numbers and intervals of {dataset} are of {found} of its {there} documents"
            log.warning(f"trainer.limit_val_batches: {said}")


def text_of(trainer: L.Trainer) -> ValidationText:
    """The text that a trainer validates on."""
    text = getattr(trainer, "datamodule", None)
    if not isinstance(text, ValidationText):
        raise TypeError(f"MatchValidation is validated on ValidationText, got {type(text).__name__}")
    return text
