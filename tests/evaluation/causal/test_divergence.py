"""Divergences of next tokens' distributions, by which effects are measured."""

import pytest
import torch

from sae_match.evaluation.causal.divergence import kl_divergence


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 30.0])
def test_a_divergence_is_torchs(scale):
    generator = torch.Generator().manual_seed(0)
    true = 5 * torch.randn(3, 4, 100, generator=generator)
    other = true.double() + scale * torch.randn(true.shape, generator=generator, dtype=torch.float64)
    expected = torch.nn.functional.kl_div(
        other.log_softmax(-1), true.double().log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    # That of torch loses digits where distributions are close.
    torch.testing.assert_close(kl_divergence(true, other), expected, rtol=1e-9, atol=1e-15)


def test_the_same_logits_are_no_divergence_at_all():
    logits = 30 * torch.randn(5, 1000, generator=torch.Generator().manual_seed(1))
    assert kl_divergence(logits, logits.clone()).tolist() == [0.0] * 5
    # Nor are those that differ by a constant, but for its rounding.
    assert kl_divergence(logits.double(), logits.double() + 3).abs().max() < 1e-12
