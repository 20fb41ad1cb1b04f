"""JumpReLU with straight-through gradients (Rajamanoharan et al., arXiv 2407.14435, Eqs. 11-12).

The jump has no useful derivative with respect to its threshold. The estimators below replace it by
that of a rectangle of width `bandwidth` around the threshold, which may be each feature's own.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

#: Width of the window: one for all features, or `[d_sae]`.
Bandwidth = float | Tensor


def _rectangle(z: Tensor, threshold: Tensor, bandwidth: Bandwidth) -> Tensor:
    return ((z - threshold).abs() < bandwidth / 2).to(z.dtype) / bandwidth


class _JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, bandwidth: Bandwidth) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return z * (z > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        z, threshold = ctx.saved_tensors
        (grad,) = grads
        to_threshold = -threshold * _rectangle(z, threshold, ctx.bandwidth) * grad
        return grad * (z > threshold), to_threshold.sum_to_size(threshold.shape), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, bandwidth: Bandwidth) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return (z > threshold).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        z, threshold = ctx.saved_tensors
        (grad,) = grads
        to_threshold = -_rectangle(z, threshold, ctx.bandwidth) * grad
        return None, to_threshold.sum_to_size(threshold.shape), None


def jumprelu(
    z: Float[Tensor, "*batch d_sae"], threshold: Float[Tensor, "*#batch d_sae"], bandwidth: Bandwidth
) -> Float[Tensor, "*batch d_sae"]:
    """`z` where it is above the positive `threshold`, else zero (Eq. 11 backwards)."""
    return cast(Tensor, cast(Any, _JumpReLU).apply(z, threshold, bandwidth))


def step(
    z: Float[Tensor, "*batch d_sae"], threshold: Float[Tensor, "*#batch d_sae"], bandwidth: Bandwidth
) -> Float[Tensor, "*batch d_sae"]:
    """One where `z` is above `threshold`, else zero (Eq. 12 backwards); `z` gets no gradient."""
    return cast(Tensor, cast(Any, _Step).apply(z, threshold, bandwidth))
