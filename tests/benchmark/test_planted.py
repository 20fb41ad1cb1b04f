import pytest
import torch

from sae_match import match
from sae_match.benchmark.planted import planted_saes


def test_a_seed_always_makes_the_same_dictionaries():
    first, again, other = (planted_saes(16, 50, seed=seed)[1].content_hash() for seed in (3, 3, 4))
    assert first == again != other


def test_decoder_rows_are_unit_vectors_whose_variance_falls_with_the_dimension():
    source, target, _ = planted_saes(64, 2000)
    for sae in (source, target):
        assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(2000))
    spread = source.W_dec.square().mean(0)
    assert spread[0] / spread[63] == pytest.approx(64**0.7, rel=0.3)


def test_about_a_fifth_has_no_relative_and_no_two_share_one():
    _, _, relative = planted_saes(16, 5000)
    known = relative[relative >= 0]
    assert len(known.unique()) == len(known)
    assert len(known) / 5000 == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("d_sae", "d_sae_target"), [(30, 50), (50, 30)])
def test_sides_of_different_width_share_the_narrower_ones_features(d_sae, d_sae_target):
    source, target, relative = planted_saes(16, d_sae, d_sae_target)
    assert (source.d_sae, target.d_sae, len(relative)) == (d_sae, d_sae_target, d_sae)
    assert int(relative.max()) < d_sae_target
    assert (relative[30:] == -1).all()


def test_matching_finds_most_relatives_and_those_that_are_alike_above_all():
    source, target, relative = planted_saes(256, 400)
    found = match(source, target).permutation
    known = relative >= 0
    cosine = (source.W_dec * target.W_dec[relative.clamp_min(0)]).sum(1)
    right = (found == relative).float()
    assert right[known & (cosine > 0.7)].mean() > 0.8
    assert right[known & (cosine < 0.4)].mean() < 0.5
