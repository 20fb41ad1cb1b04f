"""Residual streams of some layers of a model that is run no further than the last of them."""

from collections.abc import Collection

from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_match.errors import UserError
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

    Raises:
        UserError: If the model does not know a token.
    """
    tokens = input_ids if attention_mask is None else input_ids[attention_mask]
    if tokens.numel() and (largest := int(tokens.max())) >= stream.vocabulary:
        raise UserError(
            f"the tokenizer made the token {largest} of the text, and the model's embedding matrix has "
            f"{stream.vocabulary} rows; take the model's own tokenizer, or name another text.bos"
        )
    return dict(stream.capture(input_ids, attention_mask, keep=layers, whole=False).values)
