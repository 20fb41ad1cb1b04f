"""How strongly a feature is active, typically: the unit of what is added to the residual stream."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sae import SAE
from sae_match.text.batches import TokenBatch


@torch.no_grad()
def typical_activations(
    stream: ResidualStream, saes: Callable[[int], SAE], layers: Collection[int], batches: Sequence[TokenBatch]
) -> Mapping[int, Float32[Tensor, " d_sae"]]:
    """Median of every feature's activations over the scored tokens on which it is active; nan where it never is.

    Args:
        stream: The language model.
        saes: Gives the SAE of a layer.
        layers: Which layers.
        batches: The text.
    """
    seen: dict[int, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}
    for batch in batches:
        values = stream.capture(batch.input_ids, batch.attention_mask, keep=layers, whole=False).values
        for layer, x in values.items():
            f = saes(layer).encode(x[batch.scored].float())
            token, feature = (f > 0).nonzero(as_tuple=True)
            seen[layer].append((feature.cpu(), f[token, feature].float().cpu()))
    return {
        layer: _medians(torch.cat([one for one, _ in parts]), torch.cat([one for _, one in parts]), saes(layer).d_sae)
        for layer, parts in seen.items()
    }


def _medians(feature: Tensor, value: Tensor, width: int) -> Float32[Tensor, " width"]:
    """Median of the values of each feature."""
    order = value.argsort(stable=True)
    order = order[feature[order].argsort(stable=True)]
    ranked = value[order]
    counts = torch.bincount(feature, minlength=width)
    starts = counts.cumsum(0) - counts
    there = counts > 0
    low, high = (starts + (counts - 1).clamp_min(0) // 2)[there], (starts + counts // 2)[there]
    found = torch.full((width,), torch.nan)
    found[there] = (ranked[low] + ranked[high]) / 2
    return found
