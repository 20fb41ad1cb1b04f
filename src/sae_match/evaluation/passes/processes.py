"""The processes that share a validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import lightning as L
from lightning.pytorch.strategies import Strategy
from torch import Tensor

One = TypeVar("One")


@dataclass(frozen=True)
class Processes:
    """The processes that share a validation, this one among them; one that has it to itself by default.

    Attributes:
        rank: Number of this process.
        count: How many there are.
        strategy: How they reach each other, where there are several.
    """

    rank: int = 0
    count: int = 1
    strategy: Strategy | None = None

    @classmethod
    def of(cls, trainer: L.Trainer) -> "Processes":
        """Those of a trainer."""
        return cls(trainer.global_rank, trainer.world_size, trainer.strategy)

    def owner(self, number: int, of: int) -> int:
        """Which process does a piece of work: neighbouring pieces are one process's, as they share layers.

        Args:
            number: Of the piece.
            of: How many there are.
        """
        return number * min(self.count, of) // of

    def own(self, work: Sequence[One]) -> list[One]:
        """Pieces of work that are this process's."""
        return [one for number, one in enumerate(work) if self.owner(number, len(work)) == self.rank]

    def summed(self, sums: Tensor) -> Tensor:
        """Sums of all processes, on the CPU."""
        if self.strategy is None or self.count == 1:
            return sums
        return cast(Tensor, self.strategy.reduce(sums.to(self.strategy.root_device), reduce_op="sum")).cpu()

    def gathered(self, flat: Tensor) -> list[Tensor]:
        """What each process has, on the CPU; equally long everywhere."""
        if self.strategy is None or self.count == 1:
            return [flat]
        return list(self.strategy.all_gather(flat.to(self.strategy.root_device)).cpu())

    def given_by(self, owner: int, one: dict[str, Tensor]) -> dict[str, Tensor]:
        """What one process has, in every process."""
        if self.strategy is None or self.count == 1:
            return one
        return self.strategy.broadcast(one, src=owner)

    def wait(self) -> None:
        """Go on when every process is here."""
        if self.strategy is not None and self.count > 1:
            self.strategy.barrier()


ALONE = Processes()
"""A process that has a validation to itself."""
