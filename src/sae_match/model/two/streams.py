"""Two language models as one residual stream: what is read of the source's model is written into the target's."""

from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor, nn

from sae_match.model.anatomy import Anatomy
from sae_match.model.residual_stream import CleanPass, ResidualStream
from sae_match.model.sizes import ModelSizes
from sae_match.saes.sites import Site
from sae_match.saes.two import is_target, layer_of


class TwoStreams(nn.Module):
    """The model that source SAEs read and the model that target SAEs read, with what a `ResidualStream` offers.

    Values are asked for by end (`saes/two.py`), which says of which model a layer is. All that goes on from a stand-in,
    and all that is said of one model (widths, layers, the head), is the target's: stand-ins are put into it.

    Args:
        source: Of the SAEs that pairs start from.
        target: Of those that they lead to.
    """

    def __init__(self, source: ResidualStream, target: ResidualStream) -> None:
        super().__init__()
        # The target's first: whoever asks for the first parameter means the model that goes on.
        self.target, self.source = target, source

    def of(self, end: int) -> ResidualStream:
        """The model of an end."""
        return self.target if is_target(end) else self.source

    @property
    def n_layers(self) -> int:
        """Number of decoder layers of the target's model."""
        return self.target.n_layers

    @property
    def d_in(self) -> int:
        """Width of the residual stream of the target's model."""
        return self.target.d_in

    @property
    def anatomy(self) -> Anatomy:
        """The parts of the target's model."""
        return self.target.anatomy

    @property
    def attention(self) -> str:
        """What computes the attention of both."""
        both = (self.source.attention, self.target.attention)
        return both[0] if both[0] == both[1] else " and ".join(both)

    @property
    def vocabulary(self) -> int:
        """Token ids that both models know."""
        return min(self.source.vocabulary, self.target.vocabulary)

    @property
    def sizes(self) -> ModelSizes:
        """What the target's model consists of."""
        return self.target.sizes

    @property
    def is_sharded(self) -> bool:
        """Whether weights of either lie on several devices."""
        return self.source.is_sharded or self.target.is_sharded

    def width(self, site: Site) -> int:
        """Entries of a site's value in the target's model."""
        return self.target.width(site)

    def as_read(self, site: Site, end: int, value: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """A value of an end's layer as the next block of its model reads it; see `ResidualStream.as_read`."""
        return self.of(end).as_read(site, layer_of(end), value)

    def train(self, mode: bool = True) -> "TwoStreams":
        """Stay in evaluation mode whatever a trainer asks for."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TwoStreams":
        """Each model moves, or stays, by itself."""
        for one in (self.source, self.target):
            one._apply(fn, recurse)
        return self

    @torch.no_grad()
    def capture(
        self,
        input_ids: Int[Tensor, "batch seq"],
        attention_mask: Bool[Tensor, "batch seq"] | None = None,
        site: Site = "residual",
        keep: Collection[int] = (),
        *,
        whole: bool = True,
    ) -> CleanPass:
        """Run both models once; the values are kept by end, all else is the target's.

        The source's model is run no further than its last layer that is kept.

        Args:
            input_ids: Token ids, of both.
            attention_mask: True on tokens, false on padding.
            site: Which value.
            keep: Ends whose value is kept, some of either.
            whole: Whether all layers of the target's model are run.
        """
        layers = [layer_of(end) for end in keep if not is_target(end)]
        other = self.source.capture(input_ids, attention_mask, site, layers, whole=False)
        layers = [layer_of(end) for end in keep if is_target(end)]
        clean = self.target.capture(input_ids, attention_mask, site, layers, whole=whole)
        return replace(clean, values={end: (clean if is_target(end) else other).values[layer_of(end)] for end in keep})

    def resume(
        self, clean: CleanPass, layer: int, value: Float[Tensor, "rows seq d_in"], site: Site = "residual"
    ) -> Float[Tensor, "rows seq d"]:
        """Run the rest of the target's model; see `ResidualStream.resume`."""
        return self.target.resume(clean, layer, value, site)

    def next_token_losses(
        self,
        last_residual: Float[Tensor, "batch seq d"],
        input_ids: Int[Tensor, "batch seq"],
        places: Int64[Tensor, " wanted"] | None = None,
        block: int | None = None,
    ) -> Float[Tensor, "batch seq-1"]:
        """Losses of the target's model; see `ResidualStream.next_token_losses`."""
        return self.target.next_token_losses(last_residual, input_ids, places, block)


Streams = ResidualStream | TwoStreams
"""One language model, or two."""


def stream_at(stream: Streams, end: int) -> ResidualStream:
    """The model that the SAE of an end reads."""
    return stream.of(end) if isinstance(stream, TwoStreams) else stream


def place_of(stream: Streams, end: int) -> int:
    """What a value of an end is asked for by: of two models the end, of one the layer, whichever SAE reads it."""
    return end if isinstance(stream, TwoStreams) else layer_of(end)
