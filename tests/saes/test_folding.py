import pytest
import torch

from sae_match import SAE, fold_decoder_norm, fold_threshold, match
from sae_match.errors import UserError
from sae_match.saes.folding import fold_scale, folding_scale


@pytest.fixture
def x():
    return torch.randn(200, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2


def test_threshold_folding_keeps_output_and_support_and_makes_thresholds_one(make_sae, x):
    sae = make_sae(0, dtype=torch.float64)
    folded = fold_threshold(sae)
    assert torch.equal(folded.threshold, torch.ones(sae.d_sae, dtype=torch.float64))
    assert torch.equal(folded.encode(x) > 0, sae.encode(x) > 0)
    assert torch.allclose(folded.encode(x), sae.encode(x) / sae.threshold, rtol=1e-12)
    assert torch.allclose(folded(x), sae(x), rtol=1e-12, atol=1e-12)


def test_folding_leaves_the_given_sae_untouched(make_sae):
    sae = make_sae(0)
    before = sae.content_hash()
    fold_threshold(sae)
    fold_decoder_norm(sae)
    assert sae.content_hash() == before


def test_decoder_norm_folding_makes_rows_unit_and_keeps_output(make_sae, x):
    sae = make_sae(0, dtype=torch.float64)
    folded = fold_decoder_norm(sae)
    assert torch.allclose(folded.W_dec.norm(dim=1), torch.ones(sae.d_sae, dtype=torch.float64))
    assert torch.allclose(folded(x), sae(x), rtol=1e-12, atol=1e-12)


def test_folding_does_not_depend_on_the_units_of_the_features(make_sae):
    """Two SAEs that differ by a scale of each feature alone fold to the same one."""
    sae = make_sae(0, dtype=torch.float64)
    scale = torch.rand(sae.d_sae, dtype=torch.float64) + 0.5
    first, second = fold_threshold(sae), fold_threshold(fold_scale(sae, scale))
    for name, tensor in first.tensors().items():
        assert torch.allclose(tensor, second.tensors()[name], rtol=1e-12), name


@pytest.mark.parametrize("times", [1, 2])
def test_a_top_k_sae_still_picks_the_same_features_when_folded(make_sae, x, times):
    base = make_sae(0, dtype=torch.float64)
    sae = SAE(base.W_enc, base.b_enc, base.W_dec, base.b_dec, activation="topk", k=3)
    folded = sae
    for seed in range(times):
        scale = torch.rand(sae.d_sae, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
        folded = fold_scale(folded, scale)
    assert torch.equal(folded.encode(x) > 0, sae.encode(x) > 0)
    assert torch.allclose(folded(x), sae(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_that_cannot_be_folded_is_named(make_sae, bad):
    sae = make_sae(0)
    sae.threshold[7] = bad
    with pytest.raises(UserError, match=r"threshold of feature 7 is .*must be positive and finite \(1 of 10"):
        fold_threshold(sae)


WAYS_ON = (
    r"; leave such features out with matcher\.mask=dead, or match without folding with matcher\.fold=none "
    r"\(in Python: source_mask=… and target_mask=…, or fold='none'\)$"
)


def test_features_that_cannot_be_folded_are_counted_and_named_with_both_ways_on(make_sae):
    sae = make_sae(0)
    sae.threshold[[3, 7]] = 0
    with pytest.raises(UserError, match=r"\(2 of 10 features are so: 3, 7\)" + WAYS_ON):
        fold_threshold(sae)
    sae = make_sae(0, d_sae=20)
    sae.W_dec[2:18] = 0
    with pytest.raises(UserError, match=r"\(16 of 20 features are so: 2, 3, .*, 13 …\)" + WAYS_ON):
        fold_decoder_norm(sae)
    sae = make_sae(0)
    sae.threshold[[3, 7]] = 1e-45
    with pytest.raises(UserError, match=r"\(2 of 10 features are so: 3, 7\)" + WAYS_ON):
        fold_threshold(sae)


@pytest.mark.parametrize("fold", ["threshold", "decoder_norm"])
def test_both_ways_on_lead_on(make_sae, fold):
    source, target = make_sae(0), make_sae(1)
    source.threshold[3], source.W_dec[3] = 0, 0
    alive = torch.arange(10) != 3
    assert match(source, target, fold=fold, source_mask=alive).permutation[3] == -1
    assert (match(source, target, fold="none").permutation >= 0).all()


def test_a_threshold_too_small_for_the_dtype_is_named(make_sae):
    sae = make_sae(0)
    sae.threshold[7] = 1e-45
    with pytest.raises(UserError, match=r"takes W_enc of feature 7 out of the range of torch\.float32"):
        fold_threshold(sae)


def test_a_zero_decoder_row_is_named(make_sae):
    sae = make_sae(0)
    sae.W_dec[2] = 0
    with pytest.raises(UserError, match="norm of decoder row 2 is 0"):
        fold_decoder_norm(sae)


def test_threshold_folding_of_an_sae_without_thresholds_points_to_decoder_norm(make_sae):
    base = make_sae(0)
    sae = SAE(base.W_enc, base.b_enc, base.W_dec, base.b_dec, activation="relu")
    with pytest.raises(UserError, match=r"use fold='decoder_norm' \(on the command line matcher=decoder_norm\)"):
        folding_scale(sae, "threshold")
    assert torch.equal(folding_scale(sae, "none"), torch.ones(10))
