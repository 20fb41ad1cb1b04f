"""One pass over text that finds where features fire, and nothing else."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sae import SAE
from sae_match.saes.sites import Site
from sae_match.saes.two import layer_of
from sae_match.semantics.contexts import Contexts
from sae_match.text.batches import TokenBatch


@torch.inference_mode()
def collect(
    stream: ResidualStream,
    site: Site,
    open_sae: Callable[[int], SAE],
    features: Mapping[int, int],
    batches: Sequence[TokenBatch],
    contexts: Contexts,
    watch: Callable[[int, int], None] = lambda *_: None,
    also: Callable[[int, TokenBatch, Tensor], None] = lambda *_: None,
) -> dict[int, Int64[Tensor, " d_sae"]]:
    """Tokens on which each feature is active, by layer; where they are is left in `contexts`.

    Args:
        stream: The language model.
        site: Where its SAEs read.
        open_sae: Gives the SAE of a layer, on the device of the model.
        features: Number of features of each layer, or end, that is looked at.
        batches: The text.
        contexts: Started anew and filled.
        watch: Told how many batches are done, and of how many.
        also: Shown the features of each layer on the scored tokens of each batch.
    """
    active = {layer: torch.zeros(width, dtype=torch.int64) for layer, width in features.items()}
    contexts.start(features, list(dict.fromkeys(batch.dataset for batch in batches)))
    device = stream.model.get_input_embeddings().weight.device
    for number, batch in enumerate(batches):
        here = batch.to(device)
        clean = stream.capture(
            here.input_ids, here.attention_mask, site, keep=set(map(layer_of, features)), whole=False
        )
        for layer in features:
            f = open_sae(layer).encode(clean.values[layer_of(layer)][here.scored].float())
            active[layer] += (f > 0).sum(0).cpu()
            contexts.add(layer, here, f)
            also(layer, here, f)
        watch(number + 1, len(batches))
    return active
