"""Residual streams of some layers of a model that is run no further than the last of them."""

from collections.abc import Collection

from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_match.model.residual_stream import ResidualStream


def residuals_after(
    stream: ResidualStream,
    input_ids: Int[Tensor, "batch seq"],
    attention_mask: Bool[Tensor, "batch seq"] | None,
    layers: Collection[int],
) -> dict[int, Float[Tensor, "batch seq d"]]:
    """The residual stream after each of the layers, on the device of the token ids; no layer behind them is run.

    Args:
        stream: The language model.
        input_ids: Token ids, where the model's input is.
        attention_mask: True on tokens, false on padding.
        layers: Which layers.
    """
    return dict(stream.capture(input_ids, attention_mask, keep=layers, whole=False).values)
