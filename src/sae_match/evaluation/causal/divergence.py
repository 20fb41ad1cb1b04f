"""How far the next token's distribution moves, by how its logits change."""

from jaxtyping import Float, Float64
from torch import Tensor


def kl_divergence(
    true: Float[Tensor, "*batch vocabulary"], other: Float[Tensor, "*batch vocabulary"]
) -> Float64[Tensor, "*batch"]:
    """Kullback-Leibler divergence of distributions given as logits, in nats."""
    logits = true.double()
    p = logits.softmax(-1)
    return of_change(p, centred(p, other.to(true.device).double() - logits))


def centred(
    p: Float[Tensor, "*batch vocabulary"], change: Float[Tensor, "*batch vocabulary"]
) -> Float[Tensor, "*batch vocabulary"]:
    """A change of logits less its mean under a distribution: a constant added to all of them changes nothing."""
    return change - (p * change).sum(-1, keepdim=True)


def of_change(
    p: Float[Tensor, "*batch vocabulary"], change: Float[Tensor, "*batch vocabulary"]
) -> Float64[Tensor, "*batch"]:
    """Divergence from a distribution to the one whose logits are changed, in nats: `log E_p[exp(change)]`.

    Exactly zero without a change, and exact in its digits where it is small, as a difference of two logarithms is not.

    Args:
        p: The distribution.
        change: Of its logits, `centred`.
    """
    return (p * (change.expm1() - change)).sum(-1).double().log1p()
