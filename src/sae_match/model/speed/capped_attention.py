"""Attention whose scores are capped, as Gemma 2's are: `cap * tanh(score / cap)`.

Libraries have it fused for some GPUs, or else in the plainest way, which computes what the causal mask then throws
away and takes a slow `tanh` of it. Here blocks of queries see the keys that they may see and no others, and the cap is
a sigmoid: `cap * tanh(x / cap) = 2 cap * sigmoid(2 x / cap) - cap`, of which softmax does not see the constant.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from sae_match.model.sizes import CAPPED, QUERIES, QUERIES_ELSEWHERE
from sae_match.model.speed.fusing import Fused

#: The same in blocks of two queries: a few tokens show what it leaves out.
CAPPED_IN_SMALL_BLOCKS = f"{CAPPED}_in_small_blocks"


def capped_attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads queries width"],
    key: Float[Tensor, "batch groups keys width"],
    value: Float[Tensor, "batch groups keys width"],
    attention_mask: Float[Tensor, "batch one queries keys"] | None,
    *,
    scaling: float,
    softcap: float | None = None,
    sliding_window: int | None = None,
    queries: int | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "batch queries heads width"], None]:
    """Causal attention of a frozen model, as `transformers` calls it; without dropout, weights, or gradients.

    Args:
        module: The attention's module, for what the library tells of it.
        query: Queries, of several heads for each group of keys and values.
        key: Keys, as many as queries.
        value: Values.
        attention_mask: Zero where a query sees a key, hugely negative elsewhere; all are seen by default.
        scaling: What scores are multiplied by.
        softcap: What they are capped at; nothing by default, as some models have the setting and no cap.
        sliding_window: How many keys a query sees at most, itself among them; all before it by default.
        queries: Queries that are taken at one time; by default as many as suit the device.
    """
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    # A capped score is what the sigmoid gives, times this.
    scale = scaling if softcap is None else 2 * scaling / softcap
    query = (query * scale).view(batch, groups, heads // groups, length, width)
    key = key.transpose(2, 3)
    is_causal = getattr(module, "is_causal", True) and key.shape[3] == length and attention_mask is not None
    seen = query.new_empty(batch, length, groups, heads // groups, width)
    step = queries or QUERIES.get(query.device.type, QUERIES_ELSEWHERE)
    for start in range(0, length, step):
        rows = slice(start, min(start + step, length))
        first = 0 if sliding_window is None else max(0, start - sliding_window + 1)
        columns = slice(first, rows.stop) if is_causal else slice(None)
        some = query[:, :, :, rows].flatten(2, 3)
        scores = (some @ key[..., columns]).unflatten(2, (heads // groups, -1))
        mask = None if attention_mask is None else attention_mask[:, :, None, rows, columns]
        weights = _fused_weights(scores, mask, softcap).flatten(2, 3)
        seen[:, rows] = (weights @ value[:, :, columns]).unflatten(2, (heads // groups, -1)).permute(0, 3, 1, 2, 4)
    return seen.flatten(2, 3), None


def _weights(
    scores: Float[Tensor, "batch groups heads queries keys"],
    mask: Float[Tensor, "batch one one queries keys"] | None,
    softcap: float | None,
) -> Float[Tensor, "batch groups heads queries keys"]:
    """How much each query sees of each key; scores are those of a sigmoid where they are capped, and are lost."""
    capped = scores.float()
    if softcap is not None:
        capped.sigmoid_().mul_(2 * softcap)
    if mask is not None:
        capped += mask
    return torch.softmax(capped, -1).to(scores.dtype)


_fused_weights = Fused(_weights, "attention with capped scores")

for _name, _attention in ((CAPPED, capped_attention), (CAPPED_IN_SMALL_BLOCKS, partial(capped_attention, queries=2))):
    AttentionInterface.register(_name, _attention)
    AttentionMaskInterface.register(_name, eager_mask)
