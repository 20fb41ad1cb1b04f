import math

import jaxtyping
import numpy as np
import pytest
import torch

from sae_match import fold_threshold
from sae_match.errors import UserError
from sae_match.matching.cost import feature_vectors, term_weights
from tests.matching.problems import ALL, all_rows, cost_matrix, normal, plain


def vectors(sae, fold="threshold", terms=ALL, metric="mse", keep=None):
    return feature_vectors(sae, fold=fold, terms=terms, metric=metric, keep=keep)


def test_costs_equal_a_naive_loop_over_pairs_and_terms(make_sae):
    a, b = (fold_threshold(make_sae(seed, d_sae=4)) for seed in (0, 1))
    costs = cost_matrix(vectors(a, "none"), vectors(b, "none"))
    for i in range(4):
        for j in range(4):
            naive = (
                np.square(a.W_enc[:, i].double().numpy() - b.W_enc[:, j].double().numpy()).sum()
                + (float(a.b_enc[i]) - float(b.b_enc[j])) ** 2
                + np.square(a.W_dec[i].double().numpy() - b.W_dec[j].double().numpy()).sum()
            )
            assert float(costs[i, j]) == pytest.approx(naive, rel=1e-12)


def test_folding_happens_in_float64(make_sae):
    sae = make_sae(0)
    by_hand = torch.cat([sae.W_enc.T.double(), sae.b_enc[:, None].double()], dim=1) / sae.threshold.double()[:, None]
    decoder = sae.W_dec.double() * sae.threshold.double()[:, None]
    assert torch.allclose(vectors(sae).rows(slice(None)), torch.cat([by_hand, decoder], dim=1), rtol=1e-15)


def test_weights_scale_their_terms(make_sae):
    a, b = make_sae(0), make_sae(1)
    separate = {name: cost_matrix(vectors(a, terms={name: 1.0}), vectors(b, terms={name: 1.0})) for name in ALL}
    weights = {"W_enc": 0.5, "b_enc": 2.0, "W_dec": 3.0}
    together = cost_matrix(vectors(a, terms=weights), vectors(b, terms=weights))
    assert torch.allclose(together, sum(weights[name] * separate[name] for name in weights))


def test_cosine_costs_are_one_minus_the_cosine(make_sae):
    a, b = (vectors(make_sae(seed)).rows(slice(None)) for seed in (0, 1))
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1)
    costs = cost_matrix(vectors(make_sae(0), metric="cosine"), vectors(make_sae(1), metric="cosine"))
    assert torch.allclose(costs, 1 - cosines)


def test_blocks_in_order_are_all_rows():
    sides = plain(normal(0, 600, 5))
    blocks = [(rows, sides.rows(rows)) for rows in sides.row_slices()]
    assert len(blocks) > 1
    assert torch.equal(torch.cat([block for _, block in blocks]), sides.rows(slice(None)))
    assert [index for at, _ in blocks for index in range(600)[at]] == list(range(600))


def test_selected_features_keep_their_vectors(make_sae):
    keep = torch.tensor([True, False, True, True, False] * 2)
    whole = vectors(make_sae(0))
    assert torch.equal(whole.selected(keep).rows(slice(None)), whole.rows(slice(None))[keep])
    assert whole.selected(torch.ones(10, dtype=torch.bool)) is whole


def test_squares_and_mean_are_those_of_the_rows(make_sae):
    sides = vectors(make_sae(0, d_sae=300))
    assert np.allclose(sides.squares, np.square(all_rows(sides)).sum(1), rtol=1e-14)
    assert np.allclose(sides.rough_mean(), all_rows(sides).mean(0), rtol=1e-5, atol=1e-6)


def test_vectors_take_the_memory_of_their_parameters(make_sae):
    sides = vectors(make_sae(0))
    assert sides.width == 6 + 1 + 6
    assert sides.bytes == 4 * 10 * 13 + 3 * 8 * 10


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (("W_enc", "b_dec"), "unknown term 'b_dec'; there are W_enc, b_enc, W_dec"),
        ({"W_enc": -1.0}, "must be finite and not negative"),
        ({"W_enc": math.nan}, "must be finite and not negative"),
        ({"W_enc": 0.0}, "no term to match by"),
        ((), "no term to match by"),
        ({"W_enc": "heavy"}, "must be finite and not negative, got 'heavy'"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_bad_terms_are_refused(terms, message):
    with pytest.raises(UserError, match=message):
        term_weights(terms)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_parameters_that_are_not_finite_are_named(make_sae, bad):
    sae = make_sae(0)
    sae.W_dec[3, 2] = bad
    with pytest.raises(UserError, match="W_dec of feature 3 is not finite"):
        vectors(sae)
    assert torch.isfinite(vectors(sae, terms={"W_enc": 1.0}).rows(slice(None))).all()


def test_features_that_are_not_kept_may_be_bad(make_sae):
    sae, keep = make_sae(0), torch.arange(10) != 3
    good = vectors(sae).selected(keep).rows(slice(None))
    sae.W_dec[3], sae.b_enc[3], sae.threshold[3] = math.nan, math.inf, 0
    assert torch.equal(vectors(sae, keep=keep).rows(slice(None)), good)


def test_parameters_too_large_to_square_are_refused(make_sae):
    with pytest.raises(UserError, match="leaves the range of float64; lower the weights"):
        vectors(make_sae(0), terms={"W_enc": 1e308})


def test_a_zero_feature_has_no_cosine(make_sae):
    sae = make_sae(0)
    sae.W_dec[3] = 0
    with pytest.raises(UserError, match="feature 3 is zero in all terms"):
        vectors(sae, terms={"W_dec": 1.0}, metric="cosine")


def test_shapes_are_checked_in_tests():
    with pytest.raises(jaxtyping.TypeCheckError):
        plain(normal(0, 3, 2)).selected(torch.zeros(3))
