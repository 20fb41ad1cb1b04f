import numpy as np
import pytest
import torch

from sae_match.errors import UserError
from sae_match.evaluation.provenance.origins import origin_of
from tests.evaluation.provenance.planted import unit


def test_the_nearest_row_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    features, rows = torch.randn(30, 8), torch.randn(50, 8)
    found = origin_of(features, rows, rotations=2)
    for at, feature in enumerate(features.numpy()):
        cosines = [feature @ row / np.linalg.norm(feature) / np.linalg.norm(row) for row in rows.numpy()]
        assert int(found.nearest[at]) == int(np.argmax(cosines))
        assert float(found.score[at]) == pytest.approx(max(cosines), abs=1e-6)


def test_where_nothing_is_alike_chance_is_told_as_chance():
    torch.manual_seed(1)
    spread = torch.arange(1, 97).float() ** -0.35
    features, rows = (torch.randn(number, 96) * spread for number in (400, 300))
    found = origin_of(features, rows, rotations=4)
    assert float((found.p <= 0.05).double().mean()) < 0.09
    assert float((found.q <= 0.05).double().mean()) < 0.01
    # The plain rotation does not crowd where both sides do.
    plain = origin_of(features, rows, null="rotation", rotations=4)
    assert float((plain.p <= 0.05).double().mean()) > 0.3


def test_what_is_there_is_found():
    torch.manual_seed(2)
    rows = unit(torch.randn(300, 64))
    features = torch.cat([unit(rows[:50] + 0.5 * unit(torch.randn(50, 64))), unit(torch.randn(150, 64))])
    found = origin_of(features, rows, rotations=4)
    assert found.nearest[:50].tolist() == list(range(50))
    assert bool((found.q[:50] <= 0.05).all())
    assert int((found.q[50:] <= 0.05).sum()) <= 5


def test_features_without_a_direction_are_no_part_of_it():
    torch.manual_seed(3)
    features, rows = torch.randn(20, 8), torch.randn(30, 8)
    expected = origin_of(features[1:], rows[1:], rotations=2)
    features[0], rows[0] = 0, 0
    found = origin_of(features, rows, rotations=2)
    assert int(found.nearest[0]) == -1
    assert not bool(found.tested[0])
    assert bool(found.q[0].isnan())
    assert (found.nearest[1:] - 1).tolist() == expected.nearest.tolist()
    torch.testing.assert_close(found.score[1:], expected.score)


@pytest.mark.usefixtures("as_a_user")
def test_what_cannot_be_asked_is_refused():
    with pytest.raises(UserError, match="features have 8 dimensions, what they may come from 6"):
        origin_of(torch.randn(4, 8), torch.randn(4, 6))
    with pytest.raises(UserError, match="none of the 4 features has a decoder direction"):
        origin_of(torch.zeros(4, 8), torch.randn(4, 8))
    with pytest.raises(UserError, match="of 1 features 1 take part"):
        origin_of(torch.randn(4, 8), torch.randn(1, 8))
