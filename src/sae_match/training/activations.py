"""Residual streams of all layers, collected in one pass of the model over a text."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from rich.progress import track
from torch import Tensor

from sae_match.model.residual_stream import ResidualStream
from sae_match.training.crops import RandomCrops


@torch.no_grad()
def collect_residuals(
    stream: ResidualStream, crops: RandomCrops, layers: Sequence[int]
) -> Float[Tensor, "layers tokens d_in"]:
    """Residuals after the chosen layers as bfloat16, without the BOS position, on the model's device.

    The store is made whole before it is filled, so that memory never holds it twice.
    """
    device = next(stream.parameters()).device
    per_batch = crops.batch * (crops.context - 1)
    store = torch.empty(len(layers), len(crops) * per_batch, stream.d_in, dtype=torch.bfloat16, device=device)
    for number, batch in enumerate(track(crops, "collecting activations")):
        residuals = stream.capture(batch.to(device)).residuals
        tokens = slice(number * per_batch, (number + 1) * per_batch)
        for row, layer in enumerate(layers):
            store[row, tokens] = residuals[layer][:, 1:].flatten(0, 1).to(torch.bfloat16)
    return store
