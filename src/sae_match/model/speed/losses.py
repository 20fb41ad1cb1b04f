"""Losses of next tokens from logits that are capped: `cap * tanh(z / cap)`.

`cap * tanh(z / cap) + cap = 2 cap * sigmoid(2 z / cap)`: a tenth of the time; no probability sees the constant.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sae_match.model.speed.fusing import Fused


def losses_of(
    logits: Float[Tensor, "tokens vocab"], targets: Int64[Tensor, " tokens"], softcap: float | None
) -> Float[Tensor, " tokens"]:
    """Cross-entropy of each target in nats, float32.

    Args:
        logits: Before they are capped, in any dtype; they may be lost.
        targets: Tokens that came.
        softcap: What logits are capped at; nothing by default.
    """
    return _fused_losses(logits, targets, softcap)


def _losses(logits: Tensor, targets: Tensor, softcap: float | None) -> Tensor:
    logits = logits.float()
    if softcap is not None:
        logits = logits.mul_(2 / softcap).sigmoid_().mul_(2 * softcap)
    return nn.functional.cross_entropy(logits, targets, reduction="none")


def _in_one_pass(logits: Tensor, targets: Tensor, softcap: float | None) -> Tensor:
    logits = logits.float()
    if softcap is not None:
        logits = torch.sigmoid(logits * (2 / softcap)) * (2 * softcap)
    return torch.logsumexp(logits, -1) - logits.gather(1, targets[:, None])[:, 0]


_fused_losses = Fused(_losses, "the loss of the head's logits", _in_one_pass)
