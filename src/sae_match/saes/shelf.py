"""SAEs that stay open while they fit in memory."""

from collections.abc import Callable, Iterable

import torch

from sae_match.errors import UserError
from sae_match.saes.sae import SAE
from sae_match.saes.two import Collections


class SAEShelf:
    """The open SAEs of a collection, or of two: as many as fit a budget stay, all others are read anew each time.

    What is read in turns, layer by layer and batch by batch, is best served by keeping the first that
    fit: to drop the oldest for the newest would drop each just before it is needed.

    Args:
        collection: The SAEs.
        budget: Bytes that may stay.
        device: Where their tensors are.
    """

    def __init__(self, collection: Collections, budget: float, device: torch.device | str = "cpu") -> None:
        self.collection, self.budget, self.device = collection, budget, torch.device(device)
        self._open: dict[int, SAE] = {}

    def open(self, layer: int) -> SAE:
        """The SAE of a layer.

        Raises:
            UserError: As `SAECollection.open`, and if nothing can be measured of it on text.
        """
        if layer in self._open:
            return self._open[layer]
        sae = self.collection.open(layer).to(self.device)
        refuse_unmeasurable(self.collection.end_name(layer), sae.unmeasurable)
        if self.held + size_of(sae) <= self.budget:
            self._open[layer] = sae
        return sae

    @property
    def held(self) -> int:
        """Bytes of the SAEs that stay."""
        return sum(size_of(sae) for sae in self._open.values())


class InTurn:
    """The SAEs of a few layers at a time, each read once while they are at work.

    Args:
        opened: Gives the SAE of a layer; may read it anew each time.
    """

    def __init__(self, opened: Callable[[int], SAE]) -> None:
        self._opened, self._turn = opened, frozenset[int]()
        self._held: dict[int, SAE] = {}

    def turn_to(self, layers: Iterable[int]) -> None:
        """Hold the SAEs of these layers from when they are asked for, and no others."""
        self._turn = frozenset(layers)
        self._held = {layer: sae for layer, sae in self._held.items() if layer in self._turn}

    def open(self, layer: int) -> SAE:
        """The SAE of a layer.

        Raises:
            UserError: As `SAECollection.open`.
        """
        if layer in self._held:
            return self._held[layer]
        sae = self._opened(layer)
        if layer in self._turn:
            self._held[layer] = sae
        return sae


def refuse_unmeasurable(layer: str, reason: str | None) -> None:
    """Refuse to measure on text what can only be matched.

    Args:
        layer: Which SAE, by the name of its layer.
        reason: Why nothing can be measured of it (`SAE.unmeasurable`, `SAEDescription.unmeasurable`).

    Raises:
        UserError: If there is a reason.
    """
    if reason is not None:
        raise UserError(
            f"SAE of layer {layer}: {reason}; it can be matched (match.py, or match), and nothing can be measured of "
            "it on text"
        )


def size_of(sae: SAE) -> int:
    """Bytes of an SAE's tensors."""
    return sum(tensor.nbytes for tensor in sae.tensors().values())
