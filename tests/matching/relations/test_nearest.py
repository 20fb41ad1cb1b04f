import math

import pytest
import torch

from sae_match import SAE
from sae_match.matching.relations import directions, nearest
from sae_match.matching.relations.directions import Copy, directions_of, statistics
from sae_match.matching.relations.nearest import best, near_pairs, nearest_of_both
from sae_match.matching.significance.statistic import pair_statistic
from tests.conftest import random_sae
from tests.matching.problems import repeated

EVERY = ("mean", "encoder", "decoder")


def naive(source: SAE, target: SAE, statistic: str) -> torch.Tensor:
    """Statistic of every pair, one pair of vectors after another, in float64."""
    values = torch.empty(source.d_sae, target.d_sae, dtype=torch.float64)
    for i in range(source.d_sae):
        for j in range(target.d_sae):
            encoder = torch.nn.functional.cosine_similarity(
                source.W_enc[:, i].double(), target.W_enc[:, j].double(), dim=0
            )
            decoder = torch.nn.functional.cosine_similarity(source.W_dec[i].double(), target.W_dec[j].double(), dim=0)
            values[i, j] = {"encoder": encoder, "decoder": decoder, "mean": (encoder + decoder) / 2}[statistic]
    return values


def every(sae: SAE) -> torch.Tensor:
    return torch.ones(sae.d_sae, dtype=torch.bool)


def found(source: SAE, target: SAE, statistic="mean", rows=None, columns=None):
    rows, columns = every(source) if rows is None else rows, every(target) if columns is None else columns
    return nearest_of_both(source, target, rows, columns, statistic)


@pytest.mark.parametrize("statistic", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_nearest_are_those_of_a_naive_loop(statistic, dtype, monkeypatch):
    # Several blocks in both directions, none of which is whole.
    monkeypatch.setattr(nearest, "_BLOCK", (7, 5))
    source, target = random_sae(0, 6, 23, dtype), random_sae(1, 6, 18, dtype)
    values = naive(source, target, statistic)
    result = found(source, target, statistic)
    assert torch.equal(result.of_source, values.argmax(1))
    assert torch.equal(result.of_target, values.argmax(0))
    assert torch.allclose(result.source_statistic, values.amax(1), rtol=0, atol=1e-13)
    assert torch.allclose(result.target_statistic, values.amax(0), rtol=0, atol=1e-13)


def test_statistics_are_those_of_the_pairs():
    source, target = random_sae(0, 6, 23), random_sae(1, 6, 18)
    result = found(source, target)
    expected = pair_statistic(source, target, result.of_source, "mean")
    assert torch.allclose(result.source_statistic, expected, rtol=0, atol=1e-14)


def test_features_that_take_no_part_neither_ask_nor_answer():
    source, target = random_sae(0, 6, 23), random_sae(1, 6, 18)
    rows, columns = every(source), every(target)
    rows[::3], columns[:9] = False, False
    values = naive(source, target, "mean")
    values[~rows], values[:, ~columns] = -math.inf, -math.inf
    result = found(source, target, rows=rows, columns=columns)
    assert torch.equal(result.of_source, torch.where(rows, values.argmax(1), -1))
    assert torch.equal(result.of_target, torch.where(columns, values.argmax(0), -1))
    assert torch.equal(result.source_statistic.isnan(), ~rows)
    assert torch.equal(result.target_statistic.isnan(), ~columns)


def test_what_float32_cannot_tell_apart_is_told_apart_by_float64():
    base, noise = random_sae(0, 6, 8, torch.float64), random_sae(5, 6, 8, torch.float64).W_dec
    # Each is there three times: moved, so that its cosine is smaller by some 1e-10; moved twice as far; and as it is.
    target = SAE(
        torch.cat([base.W_enc] * 3, 1),
        torch.cat([base.b_enc] * 3),
        torch.cat([base.W_dec + 1e-5 * noise, base.W_dec + 2e-5 * noise, base.W_dec]),
        base.b_dec,
        torch.cat([base.threshold] * 3),
    )
    result = found(base, target)
    assert torch.equal(result.of_source, torch.arange(16, 24))
    rows, columns = (Copy.of(directions_of(sae, every(sae), "mean"), torch.float32).rows for sae in (base, target))
    values = rows @ columns.T
    assert not torch.equal(values.argmax(1), torch.arange(16, 24))


@pytest.mark.parametrize("most", [0, 8])
def test_of_equal_features_the_first_is_nearest(most, monkeypatch):
    monkeypatch.setattr(nearest, "_MOST", most)
    source = random_sae(0, 6, 5)
    index = torch.arange(5).repeat(40)
    result = found(source, repeated(source, index))
    assert torch.equal(result.of_source, torch.arange(5))
    assert torch.equal(result.of_target, index)
    back = found(repeated(source, index), source)
    assert torch.equal(back.of_target, torch.arange(5))


def test_many_equal_features_leave_no_more_pairs_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(nearest, "_BLOCK", (64, 64))
    kept = []
    pairs = nearest._Kept.pairs
    monkeypatch.setattr(nearest._Kept, "pairs", lambda self: kept.append(pairs(self)) or kept[-1])
    source = random_sae(0, 6, 1)
    copies = repeated(source, torch.zeros(256, dtype=torch.int64))
    result = found(copies, copies)
    assert not result.of_source.any()
    assert not result.of_target.any()
    assert len(kept[0][0]) <= 256 // 64 * 256 * 2


@pytest.mark.parametrize("statistic", EVERY)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_products_of_copies_err_by_no_more_than_their_margin(statistic, precision):
    source, target = random_sae(0, 40, 23), random_sae(1, 40, 18)
    left, right = (directions_of(sae, every(sae), statistic) for sae in (source, target))
    copies = [Copy.of(side, precision) for side in (left, right)]
    products = copies[0].rows.double() @ copies[1].rows.double().T
    off = float((products - naive(source, target, statistic)).abs().max())
    margin = copies[0].margin(copies[1])
    assert off < margin < (1e-4 if precision == torch.float32 else 0.02)
    i, j = (each.flatten() for each in torch.meshgrid(torch.arange(23), torch.arange(18), indexing="ij"))
    assert torch.allclose(statistics(left, right, i, j), naive(source, target, statistic).flatten(), atol=1e-14)


@pytest.mark.parametrize("most", [0, 1, 8])
@pytest.mark.parametrize("n_target", [24, 29])
def test_bfloat16_finds_the_same_as_a_naive_loop(most, n_target, monkeypatch):
    """Also where its products are too coarse, so that float32 or float64 has to tell features apart."""
    monkeypatch.setattr(nearest, "_BLOCK", (16, 16))
    monkeypatch.setattr(nearest, "_MOST", most)
    monkeypatch.setattr(nearest, "precision_for", lambda *_: torch.bfloat16)
    # In three dimensions everybody is near somebody.
    source, target = random_sae(0, 3, 40), random_sae(1, 3, n_target)
    values = naive(source, target, "mean")
    result = found(source, target)
    assert torch.equal(result.of_source, values.argmax(1))
    assert torch.equal(result.of_target, values.argmax(0))


def test_bits_of_bfloat16_are_in_the_order_of_the_numbers():
    generator = torch.Generator().manual_seed(0)
    products = torch.randn(40, 24, generator=generator).bfloat16()
    products[0, :3] = torch.tensor([0.0, -0.0, math.inf])
    drawn = torch.rand(40, 1, generator=generator), torch.randn(40, 1, generator=generator), torch.zeros(24)
    for least in (each.bfloat16() for each in drawn):
        assert torch.equal(nearest._reaching(products, least), products.float() >= least.float())
    exact = products.abs().clamp_min(1e-3)
    assert nearest._reaching(exact, exact[:, :1]).sum(1).min() >= 1


def test_of_rows_alone_no_best_of_a_row_is_missed(monkeypatch):
    monkeypatch.setattr(nearest, "precision_for", lambda *_: torch.bfloat16)
    source, target = random_sae(0, 3, 40), random_sae(1, 3, 29)
    sides = [directions_of(sae, every(sae), "mean") for sae in (source, target)]
    i, j, statistic = near_pairs(*sides, of_columns=False)
    assert torch.equal(best(i, j, statistic, 40)[0], naive(source, target, "mean").argmax(1))
    assert len(i) < len(near_pairs(*sides)[0])


def test_few_products_are_made_in_float32():
    assert directions.precision_for(1000, 1000, 1000, torch.device("cpu")) == torch.float32
