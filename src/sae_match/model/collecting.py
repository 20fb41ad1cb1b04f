"""Residual streams of some layers of a model that is run no further than the last of them."""

from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_match.model.residual_stream import ResidualStream, hidden


class _EnoughError(Exception):
    """The last layer that is needed has been run."""


@torch.no_grad()
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
    found: dict[int, Tensor] = {}
    last = max(layers)

    def keep(layer: int) -> Any:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found[layer] = hidden(output).to(input_ids.device)
            if layer == last:
                raise _EnoughError

        return look

    handles = [stream.layers[layer].register_forward_hook(keep(layer)) for layer in layers]
    try:
        mask = None if attention_mask is None else attention_mask.long()
        stream.anatomy.decoder(input_ids=input_ids, attention_mask=mask, use_cache=False)
    except _EnoughError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found
