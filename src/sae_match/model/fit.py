"""Whether SAEs fit a language model."""

from collections.abc import Iterable

from sae_match.errors import UserError
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sites import Site


def refuse_layers_beyond(stream: ResidualStream, layers: Iterable[int]) -> None:
    """Check that a model has all layers that SAEs are given for.

    Raises:
        UserError: If it does not.
    """
    if beyond := [layer for layer in layers if not 0 <= layer < stream.n_layers]:
        raise UserError(f"an SAE is given for layer {beyond[-1]}, the model has layers 0 to {stream.n_layers - 1}")


def refuse_other_width(stream: ResidualStream, site: Site, layer: int, d_in: int) -> None:
    """Check that an SAE reads as many values of a token as a model has there.

    Raises:
        UserError: If it does not.
    """
    width = stream.width(site)
    if d_in != width:
        raise UserError(f"SAE of layer {layer} reads width {d_in}, the model's {site} has {width}")
