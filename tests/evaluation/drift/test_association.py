import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sae_match.evaluation.drift.association import _dealt, _strata, associations

FEATURES = 400


def doubles(values):
    return torch.as_tensor(values, dtype=torch.float64)


@pytest.fixture(scope="module")
def drawn():
    generator = np.random.default_rng(0)
    activity = generator.exponential(50, FEATURES)
    halves = [generator.normal(size=FEATURES) for _ in range(2)]
    return activity, halves, [activity > 20, activity > 25], generator


def told(drifts, halves, counted, activity):
    given = ([doubles(one) for one in each] for each in (drifts, halves))
    return associations("rate", *given, [torch.from_numpy(one) for one in counted], doubles(activity), "(3, 3)", 0)


def test_difference_and_correlation_are_those_of_plain_numpy_and_scipy(drawn):
    activity, halves, counted, generator = drawn
    # Ties, and a drift that is not known.
    drifts = [np.round(prefers + generator.normal(size=FEATURES), 1) for prefers in halves]
    drifts[0][3] = np.nan
    found = told(drifts, halves, counted, activity)
    differences, correlations = [], []
    for drift, prefers, counts in zip(drifts, halves, counted, strict=True):
        kept = counts & np.isfinite(drift)
        x, y = drift[kept], prefers[kept]
        differences.append(x[y > 0].mean() - x[y <= 0].mean())
        correlations.append(spearmanr(x, y).statistic)
    assert found["rate_difference"].value == pytest.approx(np.mean(differences))
    assert found["rate_correlation"].value == pytest.approx(np.mean(correlations))
    assert found["rate_correlation"].low < np.mean(correlations) < found["rate_correlation"].high
    assert found["rate_correlation_permuted"].high < found["rate_correlation"].low


def test_what_activity_alone_makes_is_in_the_control(drawn):
    activity, _, counted, generator = drawn
    # Preferences and drifts both follow activity, and nothing else joins them.
    follows = [np.log1p(activity) + 0.3 * generator.normal(size=FEATURES) for _ in range(4)]
    found = told(follows[:2], [one - np.median(one) for one in follows[2:]], counted, activity)
    assert found["rate_correlation"].low > 0.3
    assert found["rate_correlation_permuted"].value == pytest.approx(found["rate_correlation"].value, abs=0.1)


def test_preferences_are_dealt_among_features_that_count():
    activity, counts = np.array([5.0, 1.0, 9.0, 7.0, 3.0, 0.0]), np.array([True, False, True, True, True, False])
    strata = _strata(activity, counts)
    assert (strata[~counts] == -1).all()
    assert strata[counts].tolist() == [2, 7, 5, 0]
    dealt = _dealt(np.where(counts, 0, -1), np.random.default_rng(0))
    assert dealt[~counts].tolist() == [1, 5]
    assert sorted(dealt[counts].tolist()) == [0, 2, 3, 4]
