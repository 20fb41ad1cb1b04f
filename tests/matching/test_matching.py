import dataclasses
import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sae_match import SAE, Matching, match
from sae_match.errors import UserError
from sae_match.matching import storage
from sae_match.matching.baselines import identity, random
from sae_match.matching.cost import cost_matrix, feature_vectors, term_weights
from sae_match.saes.folding import fold_scale


def permuted(sae, permutation, noise=0.0, seed=0):
    """A copy whose feature `permutation[i]` is the source's feature `i`, with relative noise."""
    inverse = torch.argsort(permutation)
    generator = torch.Generator().manual_seed(seed)

    def noisy(tensor):
        return tensor * (1 + noise * torch.randn(tensor.shape, generator=generator))

    return SAE(
        noisy(sae.W_enc[:, inverse]),
        noisy(sae.b_enc[inverse]),
        noisy(sae.W_dec[inverse]),
        sae.b_dec,
        noisy(sae.threshold[inverse]),
    )


@pytest.mark.parametrize("metric", ["mse", "cosine"])
@pytest.mark.parametrize("fold", ["threshold", "decoder_norm", "none"])
@pytest.mark.parametrize("terms", [("W_enc", "b_enc", "W_dec"), ("W_enc",), {"W_dec": 2.0, "b_enc": 0.5}])
def test_a_planted_permutation_is_recovered_whole(make_sae, fold, terms, metric):
    sae = make_sae(0, d_in=32, d_sae=100)
    planted = torch.randperm(100, generator=torch.Generator().manual_seed(3))
    found = match(sae, permuted(sae, planted, noise=0.01), fold=fold, terms=terms, metric=metric)
    assert torch.equal(found.permutation, planted)
    assert found.cost > 0


def test_cost_bound_and_pair_costs_fit_together_and_equal_scipys_optimum(make_sae):
    a, b = make_sae(0, d_sae=60), make_sae(1, d_sae=60)
    found = match(a, b)
    weights = term_weights(("W_enc", "b_enc", "W_dec"))
    costs = cost_matrix(*(feature_vectors(sae, fold="threshold", terms=weights, metric="mse") for sae in (a, b)))
    rows, columns = linear_sum_assignment(costs.numpy())
    assert found.cost == pytest.approx(float(costs[rows, columns].sum()), rel=1e-12)
    assert found.cost == pytest.approx(float(found.pair_cost.sum()))
    assert found.lower_bound <= found.cost
    assert (found.cost - found.lower_bound) / found.cost < 1e-10


def test_a_folded_matching_does_not_depend_on_feature_units_and_an_unfolded_one_does(make_sae):
    a, b = make_sae(0, d_sae=60), make_sae(1, d_sae=60)
    scaled = fold_scale(b, torch.logspace(-2, 2, 60))
    assert torch.equal(match(a, b).permutation, match(a, scaled).permutation)
    unfolded = (match(a, target, fold="none").permutation for target in (b, scaled))
    assert not torch.equal(*unfolded)


def test_duplicated_features_are_still_matched_one_to_one_and_certified(make_sae):
    sae = make_sae(0)
    twice = SAE(
        *(torch.cat([t, t], dim=d) for t, d in ((sae.W_enc, 1), (sae.b_enc, 0), (sae.W_dec, 0))),
        sae.b_dec,
        torch.cat([sae.threshold] * 2),
    )
    found = match(twice, twice)
    assert sorted(found.permutation.tolist()) == list(range(20))
    assert found.cost == 0
    assert -1e-9 < found.lower_bound <= 0


def test_the_saes_are_left_untouched(make_sae):
    a, b = make_sae(0), make_sae(1)
    hashes = a.content_hash(), b.content_hash()
    found = match(a, b)
    assert (found.provenance["source"], found.provenance["target"]) == hashes
    assert (a.content_hash(), b.content_hash()) == hashes


def test_what_does_not_fit_is_refused(make_sae):
    sae = make_sae(0)
    with pytest.raises(UserError, match="the source has 10 features and the target 12"):
        match(sae, make_sae(1, d_sae=12))
    with pytest.raises(UserError, match="width 6, the target of width 7"):
        match(sae, make_sae(1, d_in=7))
    with pytest.raises(UserError, match="solver='sparse' is not available"):
        match(sae, sae, solver="sparse")


@pytest.mark.usefixtures("as_a_user")
def test_unknown_choices_are_refused(make_sae):
    sae = make_sae(0)
    with pytest.raises(UserError, match="unknown folding 'thresholds'"):
        match(sae, sae, fold="thresholds")
    with pytest.raises(UserError, match="unknown metric 'l1'"):
        match(sae, sae, metric="l1")
    with pytest.raises(UserError, match="no solver 'hungarian'"):
        match(sae, sae, solver="hungarian")


def test_saving_and_loading_keeps_everything(make_sae, tmp_path):
    found = match(make_sae(0), make_sae(1))
    found.save(tmp_path / "deep" / "m.safetensors")
    loaded = Matching.load(tmp_path / "deep" / "m.safetensors")
    assert torch.equal(loaded.permutation, found.permutation)
    assert torch.equal(loaded.pair_cost, found.pair_cost)
    assert loaded.lower_bound == found.lower_bound
    assert found.provenance.items() <= loaded.provenance.items()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["m.safetensors"]


def test_files_that_are_no_matching_are_refused(make_sae, tmp_path):
    file = tmp_path / "m.safetensors"
    with pytest.raises(UserError, match="there is no file"):
        Matching.load(file)
    match(make_sae(0), make_sae(1)).save(file)
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"not a matching at all"):
        file.write_bytes(broken)
        with pytest.raises(UserError, match="not a sound matching file"):
            Matching.load(file)
    file.write_bytes(whole.replace(b'"format_version":"1"', b'"format_version":"0"'))
    with pytest.raises(UserError, match="format version 0, this version reads 1"):
        Matching.load(file)


def test_a_file_of_another_kind_is_refused(tmp_path):
    storage.save(tmp_path / "m", {"permutation": torch.arange(2), "pair_cost": torch.zeros(2)}, {})
    with pytest.raises(UserError, match="has no lower_bound in its metadata"):
        Matching.load(tmp_path / "m")


def test_an_sae_in_training_can_be_matched(make_sae):
    sae = make_sae(0)
    sae.W_enc.requires_grad_()
    assert torch.equal(match(sae, sae).permutation, torch.arange(10))


def test_a_full_disk_leaves_nothing_behind(make_sae, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        match(make_sae(0), make_sae(1)).save(blocked / "m.safetensors")
    assert list(tmp_path.iterdir()) == [blocked]


@pytest.mark.parametrize(
    ("permutation", "message"),
    [([0, 0], "share a target feature"), ([0, -2], "feature indices and -1, got -2")],
)
def test_what_is_not_one_to_one_is_no_matching(permutation, message):
    with pytest.raises(UserError, match=message):
        Matching(torch.tensor(permutation), torch.zeros(2, dtype=torch.float64))


def test_features_without_a_partner_cost_nothing():
    matching = Matching(torch.tensor([1, -1]), torch.tensor([2.5, math.nan], dtype=torch.float64))
    assert matching.cost == 2.5
    assert dataclasses.replace(matching, permutation=torch.tensor([-1, -1])).lower_bound == -math.inf


def test_baselines(make_sae):
    sae = make_sae(0, d_sae=200)
    assert torch.equal(identity(sae).permutation, torch.arange(200))
    assert torch.equal(random(sae, seed=1).permutation, random(sae, seed=1).permutation)
    assert not torch.equal(random(sae, seed=1).permutation, random(sae, seed=2).permutation)
    assert math.isnan(identity(sae).cost)
