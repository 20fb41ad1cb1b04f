import torch

from sae_match import match
from sae_match.matching.similarity import decoder_cosine, rotated


def test_rotation_keeps_the_dictionary_and_loses_its_direction(make_sae):
    sae = make_sae(0, d_in=64, d_sae=30)
    turned = rotated(sae, seed=1)
    assert torch.allclose(turned.W_dec @ turned.W_dec.T, sae.W_dec @ sae.W_dec.T, atol=1e-3)
    assert torch.allclose(turned.W_dec @ turned.W_enc, sae.W_dec @ sae.W_enc, atol=1e-3)
    cosines = torch.nn.functional.cosine_similarity(turned.W_dec, sae.W_dec)
    assert cosines.abs().mean() < 0.3


def test_rotation_is_an_equivariance_of_the_matching(make_sae):
    a, b = make_sae(0, d_in=16, d_sae=30), make_sae(1, d_in=16, d_sae=30)
    assert torch.equal(match(a, b).permutation, match(rotated(a, 5), rotated(b, 5)).permutation)


def test_decoder_cosine_of_an_sae_with_itself_is_one(make_sae):
    sae = make_sae(0)
    assert torch.allclose(decoder_cosine(sae, sae, match(sae, sae)), torch.ones(10, dtype=torch.float64))
