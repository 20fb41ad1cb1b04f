"""What decoder layers were called with, for rows that are some of a batch's."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor


@dataclass(frozen=True)
class Arguments:
    """What a decoder layer was called with besides the residual stream: masks, positions."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


class RowsOf:
    """Takes rows out of whatever has a batch dimension; what has none stays.

    Layers share masks and positions: each is made once.

    Args:
        batch: Rows of the batch.
        rows: Which of them, in any order and as often as wanted; all as they are by default.
    """

    def __init__(self, batch: int, rows: Int64[Tensor, " rows"] | None = None) -> None:
        self.batch, self.rows = batch, rows
        self._made: dict[int, Tensor] = {}

    @classmethod
    def repeated(cls, batch: int, times: int, device: torch.device) -> "RowsOf":
        """The batch so many times, one after another."""
        return cls(batch, torch.arange(batch, device=device).repeat(times) if times > 1 else None)

    def of(self, arguments: Arguments) -> Arguments:
        """The arguments of a layer for these rows."""
        return Arguments(self(arguments.positional), self(arguments.named))

    def __call__(self, given: Any) -> Any:
        """The rows of whatever a layer was given."""
        if isinstance(given, dict):
            return {name: self(value) for name, value in given.items()}
        if isinstance(given, tuple):
            return tuple(self(value) for value in given)
        if self.rows is None or not isinstance(given, Tensor) or given.ndim < 2 or len(given) != self.batch:
            return given
        if id(given) not in self._made:
            self._made[id(given)] = given.index_select(0, self.rows.to(given.device))
        return self._made[id(given)]


def occurrences(rows: Int64[Tensor, " rows"]) -> Int64[Tensor, " rows"]:
    """How many of the entries before it are equal to each entry."""
    order = rows.argsort(stable=True)
    sorted_rows = rows[order]
    starts = torch.searchsorted(sorted_rows, sorted_rows)
    found = torch.empty_like(rows)
    found[order] = torch.arange(len(rows), device=rows.device) - starts
    return found
