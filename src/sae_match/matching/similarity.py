"""How alike matched features are, and how alike they would be by chance."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from sae_match.matching.result import Matching
from sae_match.saes.sae import SAE


def decoder_cosine(source: SAE, target: SAE, matching: Matching) -> Float[Tensor, " n_source"]:
    """Cosine between the decoder rows of each matched pair, float64; nan where there is no pair."""
    partner = matching.permutation.clamp_min(0)
    cosine = torch.nn.functional.cosine_similarity(source.W_dec.double(), target.W_dec.double()[partner])
    return torch.where(matching.permutation >= 0, cosine, torch.nan)


def rotated(sae: SAE, seed: int) -> SAE:
    """The same dictionary in a randomly rotated activation space: the null of a matching.

    Every angle and distance within the dictionary stays, everything that it shares with another is
    lost. Matching against it shows what the search for partners alone brings.
    """
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(sae.d_in, sae.d_in, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    # The signs make the rotation uniform (Haar); QR alone favours some.
    rotation = (q * r.diagonal().sign()).to(sae.W_dec)
    return replace(sae, W_enc=rotation.T @ sae.W_enc, W_dec=sae.W_dec @ rotation, b_dec=sae.b_dec @ rotation)
