"""Dictionaries that share a known part of their features: to measure on, at any width."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sae_match.saes.sae import SAE

# The spectrum of directions, the share of features without a partner, and how far encoders and
# thresholds are from what would make matching easy.
_SPECTRUM = 0.7
_NEW = 0.2
_ENCODER_NOISE = 0.7
_THRESHOLD_SPREAD, _THRESHOLD_DRIFT = 0.5, 0.3
_LOWEST_BIAS = -2.0
_ROWS_PER_BLOCK = 4096


def planted_saes(
    d_in: int, d_sae: int, d_sae_target: int | None = None, *, seed: int = 0
) -> tuple[SAE, SAE, Int64[Tensor, " d_sae"]]:
    """Two JumpReLU SAEs, and where each source feature's relative is among the target's.

    Decoder rows are unit vectors whose variance falls with the dimension as `i^-0.7`. A target row
    is `alpha` times its source row plus fresh noise, `alpha` the square root of a uniform number, or
    zero for a fifth of them; encoders are decoders plus noise; thresholds are log-normal and drift
    from source to target; target features are shuffled.

    Args:
        d_in: Width of activations.
        d_sae: Features of the source.
        d_sae_target: Features of the target, as many as the source's by default. Where there are
            more, the rest have no relative; where there are fewer, the last source features have none.
        seed: Of all that is drawn.

    Returns:
        Source, target, and for each source feature its relative or -1.
    """
    generator = torch.Generator().manual_seed(seed)
    n_target = d_sae if d_sae_target is None else d_sae_target
    shared = min(d_sae, n_target)
    decoder = _directions(d_sae, d_in, generator)
    relatives = _directions(n_target, d_in, generator)
    alpha = torch.rand(shared, generator=generator).sqrt()
    alpha[torch.rand(shared, generator=generator) < _NEW] = 0
    for start in range(0, shared, _ROWS_PER_BLOCK):
        rows = slice(start, min(start + _ROWS_PER_BLOCK, shared))
        kept = alpha[rows, None]
        relatives[rows] = kept * decoder[rows] + (1 - kept.square()).sqrt() * relatives[rows]
    relatives /= relatives.norm(dim=1, keepdim=True)
    threshold = torch.exp(_THRESHOLD_SPREAD * torch.randn(d_sae, generator=generator))
    drifted = torch.exp(_THRESHOLD_SPREAD * torch.randn(n_target, generator=generator))
    drifted[:shared] = threshold[:shared] * torch.exp(_THRESHOLD_DRIFT * torch.randn(shared, generator=generator))
    order = torch.randperm(n_target, generator=generator)
    source = _sae(decoder, threshold, generator)
    target = _sae(relatives[order], drifted[order], generator)
    relative = torch.full((d_sae,), -1)
    relative[:shared] = torch.argsort(order)[:shared]
    relative[:shared][alpha == 0] = -1
    return source, target, relative


def alike(sae: SAE, features: int) -> SAE:
    """An SAE whose first features all are what its first one is, as dead ones may be."""
    first = torch.arange(sae.d_sae)
    first[:features] = 0
    threshold = None if sae.threshold is None else sae.threshold[first]
    return SAE(sae.W_enc[:, first], sae.b_enc[first], sae.W_dec[first], sae.b_dec, threshold, sae.activation, sae.k)


def _sae(decoder: Float[Tensor, "d_sae d_in"], threshold: Float[Tensor, " d_sae"], generator: torch.Generator) -> SAE:
    d_sae, d_in = decoder.shape
    encoder = _directions(d_sae, d_in, generator).mul_(_ENCODER_NOISE).add_(decoder)
    bias = _LOWEST_BIAS * torch.rand(d_sae, generator=generator)
    return SAE(encoder.T.contiguous(), bias, decoder, torch.zeros(d_in), threshold)


def _directions(n: int, d_in: int, generator: torch.Generator) -> Float[Tensor, "n d_in"]:
    rows = torch.randn(n, d_in, generator=generator)
    rows *= torch.arange(1, d_in + 1).pow(-_SPECTRUM / 2)
    rows /= rows.norm(dim=1, keepdim=True)
    return rows
