import math
from dataclasses import replace

import pytest
import torch

from sae_match.benchmark.planted_chain import Plan, planted_chain
from sae_match.errors import UserError
from sae_match.matching.significance.nulls import NullTargets, rotation_seeds, written_and_read
from sae_match.saes.sae import SAE
from tests.conftest import random_sae


def unit(rows):
    return (rows / rows.norm(dim=1, keepdim=True)).double()


def sides(sae):
    return sae.W_enc.T, sae.W_dec


def drawn(sae, seed=0, null="second_moment"):
    return NullTargets((sae,), null, (written_and_read(sae),)).draw(seed)[0]


def crowded(d_sae=2000, **plan):
    return planted_chain(Plan(1.0, **plan), 32, d_sae, seed=3)[0].sae


def moment_off(before, after):
    second = unit(before).T @ unit(before) / len(before)
    return float((unit(after).T @ unit(after) / len(after) - second).norm() / second.norm())


def test_second_moment_mean_and_lengths_come_out_as_they_went_in():
    sae = crowded(crowding=0.7, common=0.3, lengths=1.0)
    random, plain = drawn(sae), drawn(sae, null="rotation")
    for before, after, rotated in zip(sides(sae), sides(random), sides(plain), strict=True):
        assert torch.allclose(after.norm(dim=1), before.norm(dim=1), rtol=1e-5)
        # Two samples of as many features differ by as much.
        assert moment_off(before, after) < 0.1
        assert moment_off(before, rotated) > 0.5
        means = [unit(rows).mean(0) for rows in (before, after, rotated)]
        assert (means[0] - means[1]).norm() < 0.1 * means[0].norm()
        assert (means[0] - means[2]).norm() > 0.5 * means[0].norm()


def test_features_lose_their_directions_and_keep_all_else():
    sae = crowded()
    random = drawn(sae)
    for before, after in zip(sides(sae), sides(random), strict=True):
        cosines = (unit(before) * unit(after)).sum(1)
        assert cosines.abs().mean() < 0.3
    assert torch.equal(random.b_enc, sae.b_enc)
    assert torch.equal(random.threshold, sae.threshold)
    own = [(unit(encoder) * unit(decoder)).sum(1) for encoder, decoder in (sides(sae), sides(random))]
    assert abs(float(own[0].mean() - own[1].mean())) < 0.02


@pytest.mark.parametrize("least", [1.0, 3e-4], ids=["even", "uneven"])
def test_single_precision_draws_what_double_precision_draws(least):
    """Uneven: one direction spreads three thousand times as far as another, for which float32 has too few digits."""
    sae = crowded()
    spread = torch.logspace(0, math.log10(least), 32)
    sae = replace(sae, W_enc=sae.W_enc * spread[:, None], W_dec=sae.W_dec * spread)
    single, double = drawn(sae), drawn(sae.to(dtype=torch.float64))
    for one, other in zip(sides(single), sides(double), strict=True):
        assert torch.nn.functional.cosine_similarity(one.double(), other).min() > 1 - 1e-6


def test_near_copies_stay_near_copies():
    chain = planted_chain(Plan(1.0, copies=0.5), 32, 2000, seed=3)[0]
    who = chain.who.tolist()
    first = {number: place for place, number in reversed(list(enumerate(who)))}
    pairs = [(place, first[number]) for place, number in enumerate(who) if first[number] != place]
    assert len(pairs) > 500
    one, other = (torch.tensor(each) for each in zip(*pairs, strict=True))
    rows = unit(drawn(chain.sae).W_dec)
    assert (rows[one] * rows[other]).sum(1).mean() > 0.8


def test_a_seed_draws_the_same_target_and_another_one_another():
    sae = crowded(200)
    assert drawn(sae, 1).content_hash() == drawn(sae, 1).content_hash() != drawn(sae, 2).content_hash()
    assert rotation_seeds(5, 3) == rotation_seeds(5, 9)[:3]
    assert not set(rotation_seeds(5, 8)) & set(rotation_seeds(6, 8))


def test_dead_features_stay_as_they_are_and_shape_nothing(make_sae):
    sae = make_sae(0, d_in=8, d_sae=60)
    sae.W_dec[10], sae.W_enc[:, 20] = 0, 0
    random = drawn(sae)
    assert (random.W_dec[10] == 0).all()
    assert (random.W_enc[:, 20] == 0).all()
    alive = written_and_read(sae)
    assert alive.sum() == 58
    few = SAE(sae.W_enc[:, alive], sae.b_enc[alive], sae.W_dec[alive], sae.b_dec, sae.threshold[alive])
    assert torch.allclose(drawn(few).W_dec, random.W_dec[alive], atol=1e-5)


def test_what_lies_in_a_subspace_stays_in_it():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(16, 5, generator=generator)).Q
    rows = torch.randn(200, 5, generator=generator) @ basis.T
    sae = SAE(rows.T.contiguous(), torch.zeros(200), rows.clone(), torch.zeros(16), torch.ones(200))
    after = drawn(sae).W_dec
    assert torch.allclose(after @ basis @ basis.T, after, atol=1e-4)
    assert moment_off(rows, after) < 0.15
    assert (unit(rows) * unit(after)).sum(1).abs().mean() < 0.6


def test_fewer_features_than_dimensions_have_random_targets_too(make_sae):
    sae = make_sae(0, d_in=40, d_sae=12)
    random = drawn(sae)
    assert torch.isfinite(random.W_dec).all()
    assert torch.allclose(random.W_dec.norm(dim=1), sae.W_dec.norm(dim=1), rtol=1e-4)


def test_half_precision_is_rotated_in_single_precision(make_sae):
    sae = make_sae(0, d_in=16, d_sae=100)
    half = drawn(sae.to(dtype=torch.bfloat16))
    assert half.W_dec.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(half.W_dec.float(), drawn(sae).W_dec).min() > 0.99


def test_several_are_turned_alike(make_sae):
    sae = make_sae(0, d_in=16, d_sae=100)
    live = written_and_read(sae)
    one, other = NullTargets((sae, sae), "second_moment", (live, live)).draw(0)
    assert torch.equal(one.W_dec, other.W_dec)


@pytest.mark.parametrize(
    ("features", "d_in", "message"),
    [(1, 6, "1 take part and have both .* need at least 2"), (2, 2, "too few for a random rotation")],
)
def test_too_little_to_rotate_is_one_clear_line(make_sae, features, d_in, message):
    with pytest.raises(UserError, match=message):
        drawn(make_sae(0, d_in=d_in, d_sae=features))


@pytest.mark.parametrize("factor", [1e-22, 1e-30, 1e-42])
def test_a_feature_of_next_to_no_length_is_turned_like_the_others(factor):
    sae = random_sae(0, d_in=24, d_sae=64)
    live = (torch.ones(64, dtype=torch.bool),)
    plain = NullTargets((sae,), "second_moment", live).draw(0)[0]
    W_enc = sae.W_enc.clone()
    W_enc[:, 3] *= factor
    (drawn,) = NullTargets((replace(sae, W_enc=W_enc),), "second_moment", live).draw(0)
    assert drawn.W_enc.isfinite().all()
    assert (drawn.W_enc[:, 3] != 0).any()
    # Their shape is found of directions alone.
    others = torch.arange(64) != 3
    assert torch.allclose(drawn.W_enc[:, others], plain.W_enc[:, others], atol=1e-3)
    lengths = drawn.W_enc.double().norm(dim=0) / W_enc.double().norm(dim=0)
    assert lengths[3] == pytest.approx(1, abs=1e-5 if factor > 1e-35 else 0.1)
