"""What the memory of a validation follows from: the model, what is measured, the largest batch.

Nothing heavy is imported: `check=true` asks it too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from sae_match.evaluation.passes.blocks import Blocks
from sae_match.evaluation.plan import Pair
from sae_match.evaluation.statistics.layout import Layout
from sae_match.model.sizes import ModelSizes, queries_held

_SINGLE = 4


@dataclass(frozen=True)
class Load:
    """What memory follows from.

    Attributes:
        model: Sizes of the language model.
        itemsize: Bytes of its parameters.
        attention: Name of the model's attention.
        layout: What is measured.
        arms: Arms, without those that are another one by another name.
        groups: Pairs whose residuals are held at one time.
        rows: Documents of the largest batch.
        seq: Its tokens, padding included, of each.
        scored: Tokens of it that are looked at.
        fits: Pairs that this process fits.
        shapes: Documents, and tokens of each, of other batches: few long documents may take more than many short ones.
        beside: Bytes of the source's language model, where that is another one.
    """

    model: ModelSizes
    itemsize: int
    attention: str
    layout: Layout
    arms: Sequence[str]
    groups: Sequence[Sequence[Pair]]
    rows: int
    seq: int
    scored: int
    fits: int = 0
    shapes: Sequence[tuple[int, int]] = ()
    beside: int = 0

    @property
    def each_shape(self) -> "list[Load]":
        """The same of every shape of a batch, the largest first."""
        others = (
            replace(self, rows=rows, seq=seq, scored=min(self.scored, rows * (seq - 1)), shapes=())
            for rows, seq in self.shapes
        )
        return [self, *others]

    @property
    def tokens(self) -> int:
        """Of the largest batch, padding included."""
        return self.rows * self.seq

    @property
    def widest(self) -> int:
        """Features of the widest SAE."""
        return max(self.layout.features.values())

    @property
    def longest(self) -> int:
        """Entries of a residual; of two models, of the longer."""
        return max(self.layout.d_in, self.layout.d_source or 0)

    @property
    def layers(self) -> list[int]:
        """Layers that are in a pair; of two collections, ends."""
        return sorted({end for pair in self.layout.pairs for end in self.layout.ends(pair)})

    def sae_bytes(self) -> dict[int, int]:
        """Of each layer's SAE: two matrices, and three vectors."""
        layout = self.layout
        widths = {layer: layout.width(layer) for layer in self.layers}
        return {layer: _SINGLE * (layout.features[layer] * (2 * d_in + 2) + d_in) for layer, d_in in widths.items()}

    def residual_bytes(self) -> int:
        """Of one layer's residual of the largest batch."""
        return self.tokens * self.model.d_in * self.itemsize

    def arm_bytes(self, device: torch.device) -> int:
        """While a stand-in of the largest batch runs through the model on a device."""
        model, tokens, size = self.model, self.tokens, self.itemsize
        # The stand-in where it is made, joined with others, as the layer's input, and as what the layer adds to.
        there = 4 * tokens * model.d_in * size
        normed = 3 * tokens * model.d_in * _SINGLE
        heads = model.widths.get("attention", model.d_in)
        attention = tokens * 4 * heads * size
        if queries := queries_held(self.attention, self.seq, device.type):
            # Twice the scores, in the model's dtype and in float32; two kinds of masks, repeated for every arm.
            attention += self.rows * queries * self.seq * model.heads * (size + _SINGLE)
            there += tokens * self.seq * 2 * size
        else:
            # Which tokens see which, of padded texts.
            there += tokens * self.seq
        inner = tokens * (3 * model.inner + model.d_in) * size
        return there + max(normed, attention, inner)

    def blocks(self, device: torch.device, free: float) -> Blocks:
        """How much is computed at one time on a device with so many free bytes."""
        suiting = [
            Blocks.of(device).within(one.tokens, one.arm_bytes(device), one.logit_bytes(), free)
            for one in self.each_shape
        ]
        return min(suiting, key=lambda one: (one.together, one.logits))

    def logit_bytes(self) -> int:
        """Of one position's logits: as the head gives them, in float32, and as probabilities."""
        copies = 2 * _SINGLE if self.itemsize == _SINGLE else self.itemsize + 2 * _SINGLE
        return self.model.vocabulary * copies
