import numpy as np
import pytest
import torch

from sae_match.bootstrap import REPLICATES, ROWS, bootstrap_weights, interval


def test_weights_follow_from_seed_dataset_and_document_only():
    weights = bootstrap_weights("prose", [3, 7, 11], 0)
    assert weights.shape == (ROWS, 3)
    assert torch.equal(bootstrap_weights("prose", (11, 3), 0), weights[:, [2, 0]])
    for others in (bootstrap_weights("prose", [3, 7, 11], 1), bootstrap_weights("code", [3, 7, 11], 0)):
        assert not (others[1:] == weights[1:]).all(0).any()
    assert not torch.equal(weights[:, 0], weights[:, 1])


def test_the_sample_counts_every_document_once():
    assert (bootstrap_weights("prose", range(5), 0)[0] == 1).all()


def test_replicates_count_documents_as_poisson_variables_of_mean_one():
    weights = bootstrap_weights("prose", range(200), 4)[1:]
    assert torch.equal(weights, weights.round())
    # 200,000 draws: five standard deviations are 0.011 for the mean and 0.02 for the variance.
    assert weights.mean().item() == pytest.approx(1, abs=0.011)
    assert weights.var().item() == pytest.approx(1, abs=0.02)
    assert (weights == 0).double().mean().item() == pytest.approx(np.exp(-1), abs=0.006)
    correlations = np.corrcoef(weights.T.numpy()) - np.eye(200)
    assert np.abs(correlations).max() < 6 / np.sqrt(REPLICATES)


def test_no_documents_have_no_weights():
    assert bootstrap_weights("prose", [], 0).shape == (ROWS, 0)


def test_the_interval_of_a_mean_is_that_of_drawing_documents_with_replacement():
    """A mean over tokens, of documents that differ in length and in mean."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(20, 200, 60)
    totals = lengths * generator.standard_normal(60)
    weights = bootstrap_weights("prose", range(60), 0).numpy()
    low, high = interval(torch.from_numpy(weights @ totals / (weights @ lengths)))
    drawn = generator.integers(0, 60, (20_000, 60))
    expected_low, expected_high = np.percentile(totals[drawn].sum(1) / lengths[drawn].sum(1), (2.5, 97.5))
    width = expected_high - expected_low
    assert low == pytest.approx(expected_low, abs=0.15 * width)
    assert high == pytest.approx(expected_high, abs=0.15 * width)
    assert high - low == pytest.approx(width, rel=0.15)


def test_the_interval_is_the_middle_of_the_replicates_without_the_sample():
    replicates = np.random.default_rng(0).permutation(REPLICATES).astype(float)
    low, high = interval(torch.from_numpy(np.concatenate([[1e9], replicates])))
    assert (low, high) == pytest.approx((0.025 * (REPLICATES - 1), 0.975 * (REPLICATES - 1)))


def test_replicates_without_a_number_are_left_out():
    values = torch.linspace(0, 1, ROWS, dtype=torch.float64)
    values[1::4] = torch.nan
    values[2::4] = torch.inf
    kept = values[1:][torch.isfinite(values[1:])].numpy()
    assert interval(values) == pytest.approx(tuple(np.percentile(kept, (2.5, 97.5))))
    values[3::4] = torch.nan
    assert interval(values) is None


def test_there_is_no_interval_where_nothing_differs():
    assert interval(torch.full((ROWS,), 3.0, dtype=torch.float64)) is None
    differs = torch.full((ROWS,), 3.0, dtype=torch.float64)
    differs[0] = 4
    assert interval(differs) is None
    assert interval(torch.full((ROWS,), torch.nan, dtype=torch.float64)) is None
