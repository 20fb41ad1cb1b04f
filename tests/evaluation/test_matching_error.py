import torch

from sae_match import match
from sae_match.evaluation.matching_error import decoder_cosine


def test_decoder_cosine_of_an_sae_with_itself_is_one(make_sae):
    sae = make_sae(0)
    assert torch.allclose(decoder_cosine(sae, sae, match(sae, sae)), torch.ones(10, dtype=torch.float64))
