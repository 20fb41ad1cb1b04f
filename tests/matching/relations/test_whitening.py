import numpy as np
import pytest
import torch

from sae_match import SAE
from sae_match.matching.relations import whitening as room
from sae_match.matching.relations.directions import directions_of
from sae_match.matching.relations.nearest import nearest_of_both
from sae_match.matching.relations.whitening import SHRINKAGE, Whitening
from tests.conftest import random_sae


def every(sae):
    return torch.ones(sae.d_sae, dtype=torch.bool)


def crowded(seed, d_in, d_sae):
    """A dictionary whose directions lie in the first dimensions mostly."""
    sae, scale = random_sae(seed, d_in, d_sae), torch.arange(1, d_in + 1) ** -1.0
    return SAE(sae.W_enc * scale[:, None], sae.b_enc, sae.W_dec * scale, sae.b_dec, sae.threshold)


@pytest.fixture
def sides():
    return crowded(0, 12, 80), crowded(1, 12, 200)


def whitening_of(source, target, statistic="mean"):
    return Whitening.of(source, target, every(source), every(target), statistic)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_hand(source, target):
    """Whitened cosines of all pairs, by the inverse of the shrunk second moment itself."""
    found = np.zeros((source.d_sae, target.d_sae))
    for left, right in ((source.W_enc.T, target.W_enc.T), (source.W_dec, target.W_dec)):
        x, y = unit(left.double().numpy()), unit(right.double().numpy())
        second = (x.T @ x / len(x) + y.T @ y / len(y)) / 2
        inverse = np.linalg.inv(second + SHRINKAGE * np.trace(second) / len(second) * np.eye(len(second)))
        lengths = np.sqrt(np.einsum("id,de,ie->i", x, inverse, x)), np.sqrt(np.einsum("jd,de,je->j", y, inverse, y))
        found += x @ inverse @ y.T / np.outer(*lengths) / 2
    return found


def test_statistics_are_cosines_by_the_inverse_of_the_second_moment(sides):
    white = whitening_of(*sides)
    left, right = (directions_of(sae, every(sae), "mean", white) for sae in sides)
    products = left.rows(slice(None)) @ right.rows(slice(None)).T
    np.testing.assert_allclose(products.numpy(), by_hand(*sides), atol=2e-6)


def test_the_nearest_are_those_of_the_whitened_cosines(sides):
    source, target = sides
    found = nearest_of_both(source, target, every(source), every(target), "mean", whitening_of(*sides))
    products = by_hand(*sides)
    assert found.of_source.tolist() == products.argmax(1).tolist()
    assert found.of_target.tolist() == products.argmax(0).tolist()
    assert found.of_source.tolist() != nearest_of_both(source, target, every(source), every(target), "mean").of_source


def test_whitened_strangers_are_less_alike(sides):
    source, target = sides
    plain = nearest_of_both(source, target, every(source), every(target), "decoder")
    whitened = nearest_of_both(
        source, target, every(source), every(target), "decoder", whitening_of(source, target, "decoder")
    )
    assert float(whitened.source_statistic.mean()) < float(plain.source_statistic.mean()) - 0.05


def test_lengths_of_features_and_the_basis_are_no_matter(sides):
    source, target = sides
    length = torch.rand(source.d_sae, generator=torch.Generator().manual_seed(2)) + 0.5
    turn = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(3)))[0]
    longer = SAE(source.W_enc * length, source.b_enc, source.W_dec / length[:, None], source.b_dec, source.threshold)
    turned = [SAE(turn.T @ sae.W_enc, sae.b_enc, sae.W_dec @ turn, sae.b_dec, sae.threshold) for sae in sides]
    for s, t in ((longer, target), turned):
        np.testing.assert_allclose(by_hand(s, t), by_hand(source, target), atol=1e-6)
        white = whitening_of(s, t)
        left, right = (directions_of(sae, every(sae), "mean", white) for sae in (s, t))
        products = left.rows(slice(None)) @ right.rows(slice(None)).T
        np.testing.assert_allclose(products.numpy(), by_hand(source, target), atol=5e-6)


def test_features_that_take_no_part_do_not_count(sides):
    source, target = sides
    part = every(source)
    part[:30] = False
    W_dec = source.W_dec.clone()
    W_dec[:30] = 0
    changed = SAE(source.W_enc, source.b_enc, W_dec, source.b_dec, source.threshold)
    maps = [Whitening.of(each, target, part, every(target), "decoder").maps[0] for each in (source, changed)]
    assert torch.equal(*maps)


def test_of_very_many_features_some_are_enough(sides, monkeypatch):
    whole = whitening_of(*sides).maps
    monkeypatch.setattr(room, "_MOST", 100)
    some = whitening_of(*sides).maps
    for x, y in zip(some, whole, strict=True):
        assert not torch.equal(x, y)
        assert float((x @ x.T - y @ y.T).norm() / (y @ y.T).norm()) < 0.3


def test_fewer_features_than_dimensions_are_whitened_too():
    source, target = random_sae(0, 64, 5), random_sae(1, 64, 7)
    left = directions_of(source, every(source), "mean", whitening_of(source, target))
    assert torch.allclose(left.rows(slice(None)).norm(dim=1), torch.ones(5, dtype=torch.float64), atol=1e-5)
