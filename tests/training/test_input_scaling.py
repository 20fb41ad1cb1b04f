import pytest
import torch

from sae_match import SAE
from sae_match.errors import UserError
from sae_match.training.input_scaling import InputScaling, is_usual


def like_a_language_model(tokens=4000, d_in=32):
    """One dimension with most of the variance, a mean with most of the energy, three tokens of extreme norm."""
    x = torch.randn(tokens, d_in, generator=torch.Generator().manual_seed(0))
    x[:, 5] *= 60
    x += 100
    x[[7, 70, 170]] *= 50
    return x


def test_extreme_tokens_are_those_of_ten_times_the_median_norm():
    x = like_a_language_model()
    usual = is_usual(x, InputScaling.of(x, 0).longest)
    assert (~usual).nonzero().flatten().tolist() == [7, 70, 170]


def test_scaled_inputs_have_no_mean_unit_size_and_no_dimension_that_owns_them():
    x = like_a_language_model()
    scaling = InputScaling.of(x, 0)
    inputs = ((x - scaling.mean) * scaling.factor)[is_usual(x, scaling.longest)].double()
    assert torch.allclose(inputs.mean(0), torch.zeros(32, dtype=torch.float64), atol=1e-4)
    assert float(inputs.square().sum(1).mean()) == pytest.approx(1, abs=1e-3)
    deviation = inputs.std(0)
    assert float(deviation.max() / deviation.median()) == pytest.approx(2, abs=0.01)


def test_half_precision_and_parts_change_little(monkeypatch):
    x = like_a_language_model()
    whole = InputScaling.of(x, 0)
    monkeypatch.setattr("sae_match.training.input_scaling._PART", 100)
    assert torch.allclose(InputScaling.of(x, 0).factor, whole.factor, rtol=1e-5)
    assert torch.allclose(InputScaling.of(x.bfloat16(), 0).factor, whole.factor, rtol=0.05)


def test_a_constant_dimension_is_no_obstacle():
    x = like_a_language_model()
    x[:, 3] = 4.0
    scaling = InputScaling.of(x, 0)
    assert torch.isfinite(scaling.factor).all()
    assert (scaling.factor > 0).all()


@pytest.mark.parametrize(("value", "words"), [(0.0, "all zero"), (3.0, "the same on every token")])
def test_activations_that_do_not_vary_are_refused(value, words):
    with pytest.raises(UserError, match=f"activations of layer 4 are {words}"):
        InputScaling.of(torch.full((10, 4), value), 4)


def test_what_is_folded_back_does_the_same_as_an_sae_around_the_scaling():
    x = like_a_language_model(200)
    scaling = InputScaling.of(x, 0)
    generator = torch.Generator().manual_seed(3)
    inner = SAE(
        torch.randn(32, 48, generator=generator),
        torch.zeros(48),
        torch.randn(48, 32, generator=generator),
        torch.zeros(32),
        torch.full((48,), 0.3),
    )
    around = inner((x - scaling.mean) * scaling.factor) / scaling.factor + scaling.mean
    W_enc = inner.W_enc * scaling.factor[:, None]
    folded = SAE(W_enc, inner.b_enc - scaling.mean @ W_enc, inner.W_dec / scaling.factor, scaling.mean, inner.threshold)
    assert torch.allclose(folded(x), around, rtol=1e-3, atol=1e-2)
