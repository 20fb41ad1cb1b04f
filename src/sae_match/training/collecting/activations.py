"""Values of one site in several layers, collected in one pass of the model over a text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from rich.progress import track
from torch import Tensor

from sae_match.errors import UserError
from sae_match.model.collecting import values_of
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sites import Site, checked_site
from sae_match.text.batches import TokenBatch
from sae_match.training.collecting.collected import Collected, Part
from sae_match.training.collecting.crops import RandomCrops
from sae_match.training.collecting.text_stream import CropStream
from sae_match.training.sae_settings import Block, SAETrainingSettings, blocks_of
from sae_match.training.seeds import seeded


def values_at(
    stream: ResidualStream,
    input_ids: Int[Tensor, "batch seq"],
    attention_mask: Bool[Tensor, "batch seq"] | None,
    wanted: Bool[Tensor, "batch seq"],
    layers: Sequence[int],
    site: Site = "residual",
) -> Float[Tensor, "layers tokens d_in"]:
    """The chosen layers' values of a site at the wanted positions, as bfloat16, on the device of the model's input."""
    device = next(stream.parameters()).device
    mask = None if attention_mask is None else attention_mask.to(device)
    values = values_of(stream, input_ids.to(device), mask, layers, site)
    wanted = wanted.to(device)
    return torch.stack([values[layer][wanted].to(torch.bfloat16) for layer in layers])


def token_values(
    stream: ResidualStream, batch: TokenBatch, layers: Sequence[int], site: Site = "residual"
) -> Float[Tensor, "layers tokens d_in"]:
    """The chosen layers' values of a site as bfloat16, BOS and padding left out."""
    return values_at(stream, batch.input_ids, batch.attention_mask, batch.scored, layers, site)


def collect_values(
    stream: ResidualStream, crops: RandomCrops, layers: Sequence[int], site: Site = "residual"
) -> Float[Tensor, "layers tokens d_in"]:
    """The chosen layers' values of a site as bfloat16, without the BOS position, on the model's device.

    The store is made whole before it is filled, so that memory never holds it twice.
    """
    device = next(stream.parameters()).device
    per_batch = crops.batch * (crops.context - 1)
    store = torch.empty(len(layers), len(crops) * per_batch, stream.width(site), dtype=torch.bfloat16, device=device)
    wanted = torch.ones(crops.batch, crops.context, dtype=torch.bool)
    wanted[:, 0] = False
    for number, batch in enumerate(track(crops, "collecting activations")):
        tokens = slice(number * per_batch, (number + 1) * per_batch)
        store[:, tokens] = values_at(stream, batch, None, wanted, layers, site)
    return store


class ActivationBatches:
    """Batches of activations of all chosen layers, shuffled in a buffer: what Lightning trains SAEs on.

    The buffer is filled by passes of the model over new text, used up in a random order and filled
    again; memory never holds more. What was collected is on disk as well until it is used up. Lightning
    keeps the state in its checkpoints: where the text stood when the buffer was filled, and how many
    batches were taken since. Resumed, the buffer is filled with the same activations again.

    Args:
        stream: The language model.
        text: What it reads.
        settings: Settled settings of the training.
        device: Where the buffer is.
        watch: Called with the number of activations of each layer in the buffer, and how many there will be.
        disk: Makes what keeps a block on disk, from where the text stands before it; none keeps nothing.

    Raises:
        UserError: If the buffer is too small.
    """

    def __init__(
        self,
        stream: ResidualStream,
        text: CropStream,
        settings: SAETrainingSettings,
        device: torch.device,
        watch: Callable[[int, int], None],
        disk: Callable[[Mapping[str, Any]], Collected] | None = None,
    ) -> None:
        self.stream, self.text, self.settings, self.watch, self.disk = stream, text, settings, watch, disk
        self.site: Site = checked_site(settings.site)
        self.blocks = blocks_of(settings, stream.width(self.site))
        size = self.blocks.at(0).activations
        width = stream.width(self.site)
        self.store = torch.empty(len(settings.layers), size, width, dtype=torch.bfloat16, device=device)
        self.step = 0
        self.held: Block | None = None
        self.before: dict[str, Any] = {}
        self.kept: Collected | None = None

    def __len__(self) -> int:
        return self.blocks.steps

    def __iter__(self) -> Iterator[Float[Tensor, "layers batch d_in"]]:
        while self.step < len(self):
            block = self._filled()
            for picked in islice(self._draws(block), self.step - block.first, None):
                self.step += 1
                yield self.store[:, picked].float()

    def present(self) -> Float[Tensor, "layers tokens d_in"]:
        """All activations in the buffer, as bfloat16.

        Raises:
            UserError: If the text is too short, or activations of a layer are not finite.
        """
        return self.store[:, : self._filled().activations]

    def state_dict(self) -> dict[str, Any]:
        """Where these batches stand, as tensors and plain values."""
        within = self.held is not None and self.held == self.blocks.at(self.step)
        return {"step": self.step, "text": self.before if within else self.text.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where batches of the same settings stood."""
        self.step, self.held = state["step"], None
        self.text.load_state_dict(state["text"])

    def _filled(self) -> Block:
        """The block of the present step; the buffer holds it afterwards."""
        block = self.blocks.at(self.step)
        if self.held != block:
            self.held = None
            if self.kept is not None and self.settings.activations is None:
                self.kept.remove()
            self.before = self.text.state_dict()
            self.kept = None if self.disk is None else self.disk(self.before)
            self._fill(block)
            self.held = block
        return block

    def _fill(self, block: Block) -> None:
        count = 0
        for part in self.kept or ():
            count = self._take(part.residuals, count, block)
            self.text.load_state_dict(part.text)
            if count == block.activations:
                return
        waiting = count
        while count < block.activations:
            batch = next(self.text, None)
            if batch is None:
                raise UserError(self._too_short(block, count))
            values = token_values(self.stream, batch, self.settings.layers, self.site)
            before, count = count, self._take(values, count, block)
            refuse_not_finite(self.store[:, before:count], self.settings.layers)
            full = count == block.activations
            if self.kept is not None and (full or count - waiting >= self.kept.tokens_each):
                self.kept.write(Part(self.store[:, waiting:count].clone(), self.text.state_dict()))
                waiting = count

    def _take(self, residuals: Float[Tensor, "layers tokens d_in"], count: int, block: Block) -> int:
        """Put activations behind those that the buffer holds, as many as the block has room for."""
        found = residuals[:, : block.activations - count]
        self.store[:, count : count + found.shape[1]] = found
        self.watch(count + found.shape[1], block.activations)
        return count + found.shape[1]

    def _draws(self, block: Block) -> Iterator[Int[Tensor, " batch"]]:
        """Positions for each step of a block: all of them in a random order, then in another."""
        generator = seeded(self.settings.seed, "batches", block.first)
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(block.steps):
            while len(order) < self.settings.batch:
                order = torch.cat([order, torch.randperm(block.activations, generator=generator)])
            yield order[: self.settings.batch]
            order = order[self.settings.batch :]

    def _too_short(self, block: Block, count: int) -> str:
        found = block.first * self.blocks.tokens // self.blocks.steps + count
        return (
            f"the text is too short: {self.blocks.tokens} tokens are wanted, and dataset {self.text.ended!r} ends when "
            f"all together have given {found}; lower training.tokens (each is used more often then), or name more text"
        )


def refuse_not_finite(residuals: Float[Tensor, "layers tokens d_in"], layers: Sequence[int]) -> None:
    """Refuse activations that no SAE can be trained on.

    Raises:
        UserError: If those of a layer are not finite.
    """
    for layer, of_layer in zip(layers, residuals, strict=True):
        if not torch.isfinite(of_layer).all():
            raise UserError(
                f"the activations of layer {layer} are not finite: no SAE can be trained on them; is the model sound, "
                "and model.dtype one that it can be run in?"
            )
