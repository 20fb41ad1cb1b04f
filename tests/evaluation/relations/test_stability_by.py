import math

import pytest
import torch

from sae_match.evaluation.relations.stability import mean_stability, stability_by
from sae_match.matching.relations.stability import Stability


@pytest.fixture
def stable() -> Stability:
    """Features that fire more are found more often; the last ten were not tested."""
    found = torch.arange(500) * 5 // 500
    return Stability(torch.where(torch.arange(500) < 490, 4, 0), torch.where(torch.arange(500) < 490, found, 0))


def test_shares_by_frequency_are_means_over_parts(stable):
    values = torch.arange(500, dtype=torch.float64)
    parts = stability_by(stable, values, population="L03")
    assert [part.features for part in parts] == [98] * 5
    for number, part in enumerate(parts):
        mine = slice(98 * number, 98 * number + 98)
        assert (part.low, part.high) == (mine.start, mine.stop - 1)
        assert part.share.value == pytest.approx(float(stable.share[mine].mean()))
        if len(stable.share[mine].unique()) > 1:
            assert part.share.low < part.share.value < part.share.high


def test_features_without_a_value_are_in_no_part(stable):
    values = torch.arange(500, dtype=torch.float64)
    values[:100] = math.nan
    assert sum(part.features for part in stability_by(stable, values, population="L03")) == 390
    assert stability_by(stable, torch.full((500,), math.nan, dtype=torch.float64), population="L03") == []


def test_the_mean_is_over_what_was_tested(stable):
    found = mean_stability(stable, population="L03")
    assert found.value == pytest.approx(float(stable.share[:490].mean()))
    assert found.low < found.value < found.high
