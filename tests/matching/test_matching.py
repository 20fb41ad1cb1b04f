import math

import numpy as np
import pytest
import torch

from sae_match import SAE, match
from sae_match.errors import UserError
from sae_match.matching.cost import TERMS, feature_vectors, term_weights
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.folding import fold_scale
from tests.matching.problems import SOLVERS, naive_costs, noisy_copy, normal, optimum, plain, repeated, sae_of_rows

IDS = ["dense", *(f"sparse {precision}" for solver, precision in SOLVERS if solver == "sparse")]
solvers = pytest.mark.parametrize(("solver", "precision"), SOLVERS, ids=IDS)


def costs_of(source, target, *, fold="threshold", terms=TERMS, metric="mse"):
    weights = term_weights(terms)
    sides = (feature_vectors(sae, fold=fold, terms=weights, metric=metric) for sae in (source, target))
    return naive_costs(*sides).astype(float)


def objective(found, n, rejection_cost):
    """What was paid, with the price of each of `n` features that is left alone."""
    alone = n - int((found.permutation >= 0).sum())
    return found.cost + (alone * rejection_cost if alone else 0)


def assert_optimal(found, costs, rejection_cost=math.inf):
    """One-to-one, as cheap as scipy's, no pair dearer than the rejection, and a bound that is one."""
    best, n = optimum(np.minimum(costs, rejection_cost)), min(costs.shape)
    tiny = 1e-12 * max(1.0, np.abs(costs).sum(1).max())
    permutation = found.permutation.numpy()
    paired = np.flatnonzero(permutation >= 0)
    assert len(set(permutation[paired].tolist())) == len(paired)
    assert len(paired) == n or math.isfinite(rejection_cost)
    assert found.pair_cost.numpy()[paired] == pytest.approx(costs[paired, permutation[paired]], abs=tiny)
    assert np.isnan(found.pair_cost.numpy()[permutation < 0]).all()
    assert (found.pair_cost.numpy()[paired] < rejection_cost).all()
    assert objective(found, n, rejection_cost) == pytest.approx(best, rel=1e-9, abs=tiny)
    assert found.lower_bound <= found.cost
    assert found.cost - found.lower_bound <= 1e-6 * best + tiny
    if rejection_cost == math.inf:
        assert found.lower_bound <= best * (1 + 1e-12) + tiny


SHAPES = [(1, 1), (1, 7), (9, 2), (40, 40), (64, 65), (120, 300), (300, 300)]


@solvers
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_source", "n_target"), SHAPES)
def test_the_optimum_of_random_saes_is_scipys(make_sae, n_source, n_target, seed, solver, precision):
    source, target = make_sae(seed, d_sae=n_source), make_sae(seed + 100, d_sae=n_target)
    found = match(source, target, solver=solver, precision=precision)
    assert_optimal(found, costs_of(source, target))


@solvers
@pytest.mark.parametrize(("seed", "d_in", "similarity"), [(0, 4, 0.9), (1, 16, 0.7), (2, 64, 0.3), (3, 1, 0.99)])
def test_the_optimum_of_a_noisy_copy_is_scipys(make_sae, seed, d_in, similarity, solver, precision):
    source = make_sae(seed, d_in=d_in, d_sae=200)
    target = noisy_copy(source, seed, similarity)
    assert_optimal(match(source, target, solver=solver, precision=precision), costs_of(source, target))


@solvers
@pytest.mark.parametrize("d_sae", [700, 1000])
def test_the_optimum_of_a_thousand_features_is_scipys(make_sae, d_sae, solver, precision):
    source = make_sae(0, d_in=12, d_sae=d_sae)
    target = noisy_copy(source, 0, 0.6)
    assert_optimal(match(source, target, solver=solver, precision=precision), costs_of(source, target))


CASES = (
    "the same",
    "all features equal",
    "constant costs",
    "one side equal",
    "each feature twice",
    "each feature six times",
    "integers",
    "zero",
    "zero on one side",
    "a square",
    "lengths of many orders",
    "an opposite",
)


def degenerate(make_sae):
    """Pairs of SAEs whose costs are tied, by what ties them."""
    sae, other = make_sae(0, d_sae=60), make_sae(1, d_sae=60)
    index = torch.arange(60)
    lengths = torch.logspace(-4, 4, 60)
    whole = [SAE(s.W_enc.round(), s.b_enc.round(), s.W_dec.round(), s.b_dec, torch.ones(60)) for s in (sae, other)]
    return {
        "the same": (sae, sae),
        "all features equal": (repeated(sae, index * 0), repeated(sae, index * 0)),
        "constant costs": (repeated(sae, index * 0), repeated(other, index * 0)),
        "one side equal": (repeated(sae, index * 0), other),
        "each feature twice": (repeated(sae, index // 2), repeated(other, index // 2)),
        "each feature six times": (repeated(sae, index // 6), noisy_copy(repeated(sae, index // 6), 0, 1.0)),
        "integers": tuple(whole),
        "zero": (sae_of_rows(torch.zeros(40, 3)), sae_of_rows(torch.zeros(50, 3))),
        "zero on one side": (sae_of_rows(torch.zeros(40, 3)), sae_of_rows(torch.arange(150.0).reshape(50, 3) % 7)),
        "a square": (sae_of_rows(torch.cartesian_prod(*[torch.arange(8.0)] * 2)),) * 2,
        "lengths of many orders": (fold_scale(sae, lengths), other),
        "an opposite": (sae, SAE(-sae.W_enc, -sae.b_enc, -sae.W_dec, sae.b_dec, sae.threshold)),
    }


@solvers
@pytest.mark.parametrize("fold", ["threshold", "none"])
@pytest.mark.parametrize("rejection", [None, 0.3])
@pytest.mark.parametrize("case", CASES)
def test_tied_costs_are_matched_and_certified_all_the_same(make_sae, case, rejection, fold, solver, precision):
    source, target = degenerate(make_sae)[case]
    costs = costs_of(source, target, fold=fold)
    price = None if rejection is None else float(np.quantile(costs, rejection))
    found = match(source, target, fold=fold, solver=solver, precision=precision, rejection_cost=price)
    assert_optimal(found, costs, math.inf if price is None else price)


@solvers
@pytest.mark.parametrize("quantile", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("n_source", "n_target"), [(80, 80), (50, 120), (120, 50), (1, 30)])
def test_pairs_survive_only_if_they_cost_less(make_sae, n_source, n_target, quantile, solver, precision):
    source, target = make_sae(0, d_sae=n_source), make_sae(1, d_sae=n_target)
    costs = costs_of(source, target)
    price = float(np.quantile(costs, quantile))
    found = match(source, target, rejection_cost=price, solver=solver, precision=precision)
    assert_optimal(found, costs, price)
    assert (found.permutation >= 0).any() == (quantile > 0)


@solvers
def test_without_a_price_nothing_survives(make_sae, solver, precision):
    found = match(make_sae(0), make_sae(1), rejection_cost=0.0, solver=solver, precision=precision)
    assert (found.permutation == -1).all()
    assert (found.cost, found.lower_bound, found.gap) == (0, 0, 0)


@solvers
@pytest.mark.parametrize("rejection_cost", [None, 8.0])
@pytest.mark.parametrize("which", ["source", "target", "both"])
def test_masked_features_take_no_part(make_sae, which, rejection_cost, solver, precision):
    source, target = make_sae(0, d_sae=60), make_sae(1, d_sae=80)
    generator = torch.Generator().manual_seed(2)
    masks = {
        f"{side}_mask": torch.rand(sae.d_sae, generator=generator) < 0.6
        for side, sae in (("source", source), ("target", target))
        if which in (side, "both")
    }
    kept = [masks.get(f"{side}_mask", torch.ones(n, dtype=torch.bool)) for side, n in (("source", 60), ("target", 80))]
    index = [mask.nonzero().flatten() for mask in kept]
    options = {"solver": solver, "precision": precision, "rejection_cost": rejection_cost}
    found = match(source, target, **masks, **options)
    smaller = match(repeated(source, index[0]), repeated(target, index[1]), **options)
    expected = torch.where(smaller.permutation >= 0, index[1][smaller.permutation.clamp_min(0)], -1)
    assert torch.equal(found.permutation[kept[0]], expected)
    assert (found.permutation[~kept[0]] == -1).all()
    assert found.pair_cost[~kept[0]].isnan().all()
    assert found.cost == pytest.approx(smaller.cost, rel=1e-12)
    assert found.lower_bound == pytest.approx(smaller.lower_bound, rel=1e-9)


def test_masked_features_may_be_as_bad_as_they_like(make_sae):
    source, target = make_sae(0), make_sae(1)
    keep = torch.arange(10) != 4
    good = match(source, target, source_mask=keep)
    source.W_enc[:, 4], source.b_enc[4], source.threshold[4] = math.nan, -math.inf, 0.0
    assert torch.equal(match(source, target, source_mask=keep).permutation, good.permutation)
    source.threshold[4] = -1.0
    assert torch.equal(match(source, target, source_mask=keep).permutation, good.permutation)


@solvers
@pytest.mark.parametrize("fold", ["threshold", "decoder_norm", "none"])
@pytest.mark.parametrize("terms", [("W_dec",), {"W_enc": 0.1, "b_enc": 5.0, "W_dec": 2.0}, {"b_enc": 1.0}])
@pytest.mark.parametrize("metric", ["mse", "cosine"])
def test_the_optimum_is_scipys_whatever_is_compared(make_sae, metric, terms, fold, solver, precision):
    source, target = make_sae(0, d_sae=70), make_sae(1, d_sae=90)
    options = {"metric": metric, "terms": terms, "fold": fold}
    found = match(source, target, solver=solver, precision=precision, **options)
    assert_optimal(found, costs_of(source, target, **options))


def test_lapjv_finds_the_same_optimum(make_sae):
    lap = pytest.importorskip("lap")
    source, target = make_sae(0, d_sae=500), make_sae(1, d_sae=500)
    costs = costs_of(source, target)
    total, _, _ = lap.lapjvx(costs)
    for solver, precision in SOLVERS:
        assert match(source, target, solver=solver, precision=precision).cost == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("metric", ["mse", "cosine"])
@pytest.mark.parametrize("fold", ["threshold", "decoder_norm", "none"])
@pytest.mark.parametrize("terms", [TERMS, ("W_enc",), {"W_dec": 2.0, "b_enc": 0.5}])
def test_a_planted_permutation_is_recovered_whole(make_sae, fold, terms, metric):
    sae = make_sae(0, d_in=32, d_sae=100)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(4)
    noisy = {
        name: tensor * (1 + 0.01 * torch.randn(tensor.shape, generator=generator))
        for name, tensor in sae.tensors().items()
    }
    found = match(sae, repeated(SAE(**noisy), order), fold=fold, terms=terms, metric=metric)
    assert torch.equal(order[found.permutation], torch.arange(100))
    assert found.cost > 0


def test_a_folded_matching_does_not_depend_on_feature_units_and_an_unfolded_one_does(make_sae):
    a, b = make_sae(0, d_sae=60), make_sae(1, d_sae=60)
    scaled = fold_scale(b, torch.logspace(-2, 2, 60))
    assert torch.equal(match(a, b).permutation, match(a, scaled).permutation)
    unfolded = (match(a, target, fold="none").permutation for target in (b, scaled))
    assert not torch.equal(*unfolded)


@solvers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_saes_are_left_untouched(make_sae, dtype, solver, precision):
    a, b = make_sae(0, dtype=dtype), make_sae(1, dtype=dtype)
    hashes = a.content_hash(), b.content_hash()
    found = match(a, b, solver=solver, precision=precision)
    assert (found.provenance["source"], found.provenance["target"]) == hashes
    assert (a.content_hash(), b.content_hash()) == hashes


def test_dense_and_sparse_prove_the_same(make_sae):
    source, target = make_sae(0, d_sae=150), make_sae(1, d_sae=150)
    dense, sparse = (match(source, target, solver=solver) for solver in ("dense", "sparse"))
    assert torch.equal(dense.permutation, sparse.permutation)
    assert dense.evidence.solver == dense.provenance["solver"] == "dense"
    assert sparse.evidence.solver == sparse.provenance["solver"] == "sparse"
    assert dense.gap <= 1e-6 >= sparse.gap


def test_an_sae_in_training_can_be_matched(make_sae):
    sae = make_sae(0)
    sae.W_enc.requires_grad_()
    assert torch.equal(match(sae, sae).permutation, torch.arange(10))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_saes_of_any_dtype_can_be_matched(make_sae, dtype):
    source, target = (make_sae(seed, d_sae=40, dtype=dtype) for seed in (0, 1))
    assert_optimal(match(source, target, solver="sparse"), costs_of(source, target))


def test_settings_are_the_arguments_of_match(make_sae):
    import inspect
    from dataclasses import asdict

    settings = asdict(MatcherSettings())
    # It stands for two arguments, which follow from the SAEs.
    assert settings.pop("mask") == "none"
    defaults = {name: parameter.default for name, parameter in inspect.signature(match).parameters.items()}
    assert settings["terms"] == term_weights(TERMS)
    assert {name: defaults[name] for name in settings if name != "terms"} == {
        name: value for name, value in settings.items() if name != "terms"
    }
    assert match(make_sae(0), make_sae(1), **settings).cost > 0


def test_means_do_not_belong_to_a_matchings_identity():
    means = MatcherSettings(solver="sparse", memory=3.0, device="cpu", precision="float64")
    assert means.identity() == MatcherSettings().identity()
    assert MatcherSettings(rejection_cost=1.0).identity() != MatcherSettings().identity()
    assert MatcherSettings(tolerance=1e-3).identity() != MatcherSettings().identity()


@pytest.mark.parametrize("solver", ["dense", "sparse"])
@pytest.mark.parametrize("others", [0, 250])
@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6])
def test_near_copies_are_certified_however_near_they_are(solver, others, noise):
    rows, more = normal(0, 500, 40), normal(2, others, 40)
    order = torch.randperm(500 + others, generator=torch.Generator().manual_seed(0))
    target = torch.cat([rows + noise * normal(1, 500, 40), more])[order]
    found = match(sae_of_rows(rows), sae_of_rows(target), solver=solver)
    assert torch.equal(order[found.permutation], torch.arange(500))
    assert 0 <= found.gap < 1e-6
    assert found.evidence.rounds < 10


def test_costs_far_below_the_rounding_of_the_lengths_are_told_apart():
    """Copies at a distance of 1e-8 in float64: what differs is a share of 1e-16 of the squared lengths."""

    def sae(rows):
        n, d = rows.shape
        ones = torch.ones(n, dtype=torch.float64)
        return SAE(torch.ones(d, n).double(), ones, rows, torch.zeros(d).double(), ones)

    rows = normal(0, 40, 30)
    target = torch.cat([rows + 1e-8 * normal(1, 40, 30), rows + 2e-8 * normal(2, 40, 30)])
    found = match(sae(rows), sae(target), terms="W_dec", solver="dense")
    assert found.cost == pytest.approx(optimum(naive_costs(plain(rows), plain(target))), rel=1e-9)


def test_one_feature_that_is_much_longer_spoils_no_others_certificate(make_sae):
    source, target = make_sae(0, d_in=20, d_sae=150), make_sae(1, d_in=20, d_sae=200)
    source.threshold[3] = target.threshold[5] = 1e-6
    assert_optimal(match(source, target), costs_of(source, target))


@pytest.mark.parametrize("solver", ["dense", "sparse"])
def test_a_price_below_every_cost_leaves_all_alone_at_a_gap_of_zero(make_sae, solver):
    found = match(make_sae(0, d_sae=60), make_sae(1, d_sae=61), rejection_cost=1e-6, solver=solver)
    assert (found.permutation == -1).all()
    assert (found.cost, found.gap) == (0, 0)


def test_costs_that_cannot_be_added_up_are_refused(make_sae):
    source = make_sae(0, dtype=torch.float64)
    source.W_dec[2] *= 2e153
    with pytest.raises(UserError, match="the costs of pairs leave the range of float64 when they are added up"):
        match(source, make_sae(1, dtype=torch.float64), fold="none")


@pytest.mark.parametrize("solver", ["dense", "sparse"])
@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_an_offset_that_all_features_share_hides_nothing(solver, offset):
    source, target = sae_of_rows(normal(0, 300, 20) + offset), sae_of_rows(normal(1, 400, 20) + offset)
    found = match(source, target, solver=solver)
    differences = source.W_dec.double()[:, None] - target.W_dec.double()
    assert found.cost == pytest.approx(optimum(differences.square().sum(2).numpy()), rel=1e-12)
    assert 0 <= found.gap < 1e-6
