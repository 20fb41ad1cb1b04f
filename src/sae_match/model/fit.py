"""Whether SAEs fit a language model, or each the one of two that it reads."""

from collections.abc import Iterable

from sae_match.errors import UserError
from sae_match.model.two.streams import Streams, TwoStreams, stream_at
from sae_match.saes.sites import Site
from sae_match.saes.two import is_target, layer_of


def refuse_layers_beyond(stream: Streams, ends: Iterable[int]) -> None:
    """Check that a model has all layers that SAEs are given for, by their numbers or ends.

    Raises:
        UserError: If it does not.
    """
    for end in sorted(ends, key=layer_of, reverse=True):
        layer, n_layers = layer_of(end), stream_at(stream, end).n_layers
        if not 0 <= layer < n_layers:
            raise UserError(f"an SAE is given for layer {layer}, {_named(stream, end)} has layers 0 to {n_layers - 1}")


def refuse_other_width(stream: Streams, site: Site, end: int, d_in: int) -> None:
    """Check that an SAE reads as many values of a token as its model has there.

    Raises:
        UserError: If it does not.
    """
    width = stream_at(stream, end).width(site)
    if d_in != width:
        raise UserError(f"SAE of layer {layer_of(end)} reads width {d_in}, {_named(stream, end)}'s {site} has {width}")


def _named(stream: Streams, end: int) -> str:
    if isinstance(stream, TwoStreams):
        return "target_model" if is_target(end) else "the source's model"
    return "the model"
