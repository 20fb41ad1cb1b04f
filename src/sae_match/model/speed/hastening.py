"""A loaded model made faster, and seen to say what it said."""

import logging

import torch
from transformers import PreTrainedModel

from sae_match.model.exactness import distance, logits_of, narrowed, probe, tolerance
from sae_match.model.residual_stream import ResidualStream
from sae_match.model.sizes import CAPPED, EAGER
from sae_match.model.speed.capped_attention import CAPPED_IN_SMALL_BLOCKS
from sae_match.model.speed.fusing import fuse_norms, unfuse_norms
from sae_match.model.speed.linear_maps import freeze_linear_maps, unfreeze_linear_maps

log = logging.getLogger(__name__)


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
    caps = attention and own == EAGER and _caps(model)
    # Windows and blocks smaller than the look, so that all that they leave out would be missed in it.
    with narrowed(stream):
        before = logits_of(stream, tokens, mask)[mask]
        freeze_linear_maps(model)
        fuse_norms(model)
        if caps:
            model.set_attn_implementation(CAPPED_IN_SMALL_BLOCKS)
        after = logits_of(stream, tokens, mask)[mask]
    says_the_same = (apart := distance(after, before)) <= tolerance(before)
    if caps:
        model.set_attn_implementation(CAPPED if says_the_same else own)
    if not says_the_same:
        unfreeze_linear_maps(model)
        unfuse_norms(model)
        said = "%s says something else with faster parts, by %.2g of its logits' size; it keeps its own"
        log.warning(said, name, apart)


def _caps(model: PreTrainedModel) -> bool:
    return getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None
