"""The straight-through gradients against their formulas, evaluated one sample at a time."""

import pytest
import torch

from sae_match.training.jumprelu import jumprelu, step

BANDWIDTH = 0.2


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, 5, generator=generator, dtype=torch.float64).requires_grad_()
    threshold = torch.rand(5, generator=generator, dtype=torch.float64).add(0.1).requires_grad_()
    weight = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    return z, threshold, weight


def near(z, threshold):
    return ((z - threshold).abs() < BANDWIDTH / 2).double()


def test_forward_values(case):
    z, threshold, _ = case
    assert torch.equal(jumprelu(z, threshold, BANDWIDTH), torch.where(z > threshold, z, 0))
    assert torch.equal(step(z, threshold, BANDWIDTH), (z > threshold).double())


def test_jumprelu_gradients(case):
    z, threshold, weight = case
    (jumprelu(z, threshold, BANDWIDTH) * weight).sum().backward()
    assert torch.equal(z.grad, weight * (z > threshold))
    assert torch.allclose(threshold.grad, (-threshold / BANDWIDTH * near(z, threshold) * weight).sum(0))


def test_step_gradients_reach_the_threshold_alone(case):
    z, threshold, weight = case
    (step(z, threshold, BANDWIDTH) * weight).sum().backward()
    assert z.grad is None
    assert torch.allclose(threshold.grad, (-near(z, threshold) / BANDWIDTH * weight).sum(0))


def test_the_expected_l0_falls_with_the_threshold_as_the_estimator_says():
    """Averaged over many samples the estimator is the derivative of the smoothed density."""
    z = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    threshold = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    step(z, threshold, 0.1).mean().backward()
    density = torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.5)).exp()
    assert float(threshold.grad) == pytest.approx(-float(density), rel=0.02)
