"""A loaded model made faster, and seen to say what it said."""

import logging

import torch
from transformers import PreTrainedModel

from sae_match.model.exactness import distance, logits_of, narrowed, probe, tolerance
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.sizes import CAPPED, EAGER
from sae_match.model.speed import capped_attention
from sae_match.model.speed.linear_maps import freeze_linear_maps, unfreeze_linear_maps

log = logging.getLogger(__name__)

_FEW_QUERIES = 2


@torch.no_grad()
def hasten(stream: ResidualStream, name: str, *, attention: bool = True) -> None:
    """Give a model the faster parts that there are for it, unless it then says something else on a few tokens.

    Args:
        stream: The model; changed in place. Parameters and their names stay.
        name: Of the model, for the log.
        attention: Whether its attention may be another implementation than it has.
    """
    model, (tokens, mask) = stream.model, probe(stream)
    own = stream.attention
    # Windows and blocks smaller than the look, so that all that they leave out would be missed in it.
    with narrowed(stream), capped_attention.in_blocks_of(_FEW_QUERIES):
        before = logits_of(stream, tokens, mask)[mask]
        freeze_linear_maps(model)
        if attention and own == EAGER and _caps(model):
            model.set_attn_implementation(CAPPED)
        after = logits_of(stream, tokens, mask)[mask]
    if (apart := distance(after, before)) <= tolerance(before):
        return
    unfreeze_linear_maps(model)
    model.set_attn_implementation(own)
    log.warning("%s says something else with faster parts, by %.2g of its logits' size; it keeps its own", name, apart)


def _caps(model: PreTrainedModel) -> bool:
    return getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None
