import math

import numpy as np
import pytest
import torch

from sae_match import fold_threshold
from sae_match.errors import UserError
from sae_match.matching.cost import cost_matrix, feature_vectors, pair_costs, rounding_margin, term_weights

ALL = term_weights(("W_enc", "b_enc", "W_dec"))


def vectors(sae, fold="threshold", terms=ALL, metric="mse"):
    return feature_vectors(sae, fold=fold, terms=terms, metric=metric)


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


def test_weights_scale_their_terms(make_sae):
    a, b = make_sae(0), make_sae(1)
    separate = {name: cost_matrix(vectors(a, terms={name: 1.0}), vectors(b, terms={name: 1.0})) for name in ALL}
    weights = {"W_enc": 0.5, "b_enc": 2.0, "W_dec": 3.0}
    together = cost_matrix(vectors(a, terms=weights), vectors(b, terms=weights))
    assert torch.allclose(together, sum(weights[name] * separate[name] for name in weights))


def test_cosine_costs_are_one_minus_the_cosine(make_sae):
    a, b = vectors(make_sae(0)), vectors(make_sae(1))
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1)
    costs = cost_matrix(vectors(make_sae(0), metric="cosine"), vectors(make_sae(1), metric="cosine"))
    assert torch.allclose(costs, 1 - cosines)


def test_pair_costs_are_exact_where_the_product_form_cancels():
    """Two far-away points that nearly meet: the difference is right to its last digits."""
    a = torch.full((1, 3), 1e6, dtype=torch.float64)
    b = a + 1e-6
    exact = float(((a - b) ** 2).sum())
    assert float(pair_costs(a, b, torch.tensor([0]))) == exact
    assert abs(float(cost_matrix(a, b)) - exact) <= float(rounding_margin(a, b))
    assert math.isnan(float(pair_costs(a, b, torch.tensor([-1]))))


def test_what_all_features_have_in_common_does_not_drown_their_differences():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(20, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    assert torch.allclose(cost_matrix(a + 1e8, b + 1e8), cost_matrix(a, b), rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e8])
def test_the_rounding_margin_covers_the_error_of_every_entry(offset):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(40, 300, generator=generator, dtype=torch.float64) * 10 + offset
    b = a + 1e-7 * torch.randn(40, 300, generator=generator, dtype=torch.float64)
    product = cost_matrix(a, b)
    wide_a, wide_b = a.numpy().astype(np.longdouble), b.numpy().astype(np.longdouble)
    exact = np.square(wide_a[:, None] - wide_b[None]).sum(-1)
    error = np.abs(product.numpy() - exact).max(axis=1)
    assert (error > 0).all()
    assert (error <= rounding_margin(a, b).numpy()).all()


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


def test_parameters_that_are_not_finite_are_named(make_sae):
    sae = make_sae(0)
    sae.W_dec[3, 2] = math.nan
    with pytest.raises(UserError, match="W_dec of feature 3 is not finite"):
        vectors(sae)
    assert torch.isfinite(vectors(sae, terms={"W_enc": 1.0})).all()


def test_parameters_too_large_to_square_are_refused(make_sae):
    with pytest.raises(UserError, match="leaves the range of float64; lower the weights"):
        vectors(make_sae(0), terms={"W_enc": 1e308})


def test_a_zero_feature_has_no_cosine(make_sae):
    sae = make_sae(0)
    sae.W_dec[3] = 0
    with pytest.raises(UserError, match="feature 3 is zero in all terms"):
        vectors(sae, terms={"W_dec": 1.0}, metric="cosine")
