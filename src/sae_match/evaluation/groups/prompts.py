"""Which features a prompt activates, and where."""

from collections.abc import Callable, Collection

import torch

from sae_match.evaluation.groups.members import Member
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sae import SAE
from sae_match.text.batches import TokenBatch


@torch.no_grad()
def active_features(
    stream: ResidualStream, saes: Callable[[int], SAE], layers: Collection[int], prompt: TokenBatch, most: int
) -> dict[Member, dict[int, float]]:
    """Of each feature that a prompt activates, its activations by place; BOS is left out.

    Args:
        stream: The language model.
        saes: Gives the SAE of a layer, where the model is.
        layers: Which layers.
        prompt: A batch of one row.
        most: Features of each layer that are taken: those whose largest activation is largest.
    """
    found: dict[Member, dict[int, float]] = {}
    values = stream.capture(prompt.input_ids, prompt.attention_mask, keep=layers, whole=False).values
    places = prompt.scored[0].nonzero()[:, 0]
    for layer in sorted(layers):
        f = saes(layer).encode(values[layer][0, places].float()).cpu()
        strongest = f.max(0).values
        for feature in strongest.argsort(descending=True, stable=True)[:most].tolist():
            if float(strongest[feature]) > 0:
                where = (f[:, feature] > 0).nonzero()[:, 0].tolist()
                found[layer, feature] = {int(places[one]): float(f[one, feature]) for one in where}
    return found
