import numpy as np
import pytest
import torch

from sae_match.errors import UserError
from sae_match.evaluation import fitting
from sae_match.evaluation.fitting import (
    ActivityRecord,
    LeastSquares,
    LinearMap,
    by_products,
    refuse_common_documents,
    together,
)
from sae_match.evaluation.statistics.streaming import Active


def fitted(x, y, sizes=None):
    """The map fitted on batches of given sizes."""
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    sizes = [len(x)] if sizes is None else sizes
    sums = LeastSquares(x[: sizes[0]], y[: sizes[0]])
    for some_x, some_y in zip(x.split(sizes), y.split(sizes), strict=True):
        sums.add(some_x, some_y)
    return sums.solution()


def with_intercept(x):
    return np.column_stack([x, np.ones(len(x))])


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def xy():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((300, 6)) @ generator.standard_normal((6, 6))
    y = x @ generator.standard_normal((6, 4)) + 0.3 * generator.standard_normal((300, 4))
    return x, y


@pytest.mark.parametrize("sizes", [[300], [1, 299], [100, 50, 150], [1] * 300])
@pytest.mark.parametrize("away", [0.0, 1e4])
def test_least_squares_in_any_batches_are_numpys_with_an_intercept(xy, sizes, away):
    x, y = xy
    x, y = x + away, y - away
    found = fitted(x, y, sizes)
    # Numpy, too, is exact only near the origin: the intercept is moved there.
    solution = np.linalg.lstsq(with_intercept(x - away), y, rcond=None)[0]
    assert np.allclose(found.weight, solution[:-1], rtol=1e-6, atol=1e-8)
    assert np.allclose(found(torch.as_tensor(x)), with_intercept(x - away) @ solution, rtol=0, atol=1e-6)


def test_the_point_that_products_are_taken_about_changes_nothing(xy):
    x, y = (torch.as_tensor(values) for values in xy)
    about = LeastSquares(x[:3] + 5, y[:3] - 7)
    about.add(x, y)
    assert torch.allclose(about.solution().weight, fitted(x, y).weight, rtol=1e-8)
    assert torch.allclose(about.solution().bias, fitted(x, y).bias, rtol=1e-8)


def test_single_precision_costs_little_where_one_direction_is_large(xy):
    x, y = (values.astype(np.float32) for values in xy)
    outlier = np.random.default_rng(1).standard_normal((300, 1)).astype(np.float32) * 100 + 1000
    x = x + outlier * np.ones((1, 6), np.float32)
    found = fitted(x, y, [100, 200])
    assert found.weight.dtype == torch.float32
    solution = np.linalg.lstsq(with_intercept(x.astype(float)), y.astype(float), rcond=None)[0]
    best = np.square(with_intercept(x) @ solution - y).mean()
    mapped = torch.as_tensor(x).double() @ found.weight.double() + found.bias.double()
    assert np.square(mapped.numpy() - y).mean() == pytest.approx(best, rel=1e-3)


def test_an_affine_map_is_found_again():
    affine = LinearMap(torch.tensor([[2.0, 0.0], [1.0, -1.0]]), torch.tensor([3.0, 4.0]))
    x = normal(40, 2) * 3 + 1
    found = fitted(x, affine(x))
    assert torch.allclose(found.weight, affine.weight, atol=1e-4)
    assert torch.allclose(found.bias, affine.bias, atol=1e-4)


def test_fewer_tokens_than_dimensions_are_refused():
    x = normal(6, 6).double()
    with pytest.raises(UserError, match=r"6 dimensions needs more than 6 tokens .*evaluation\.fitting_documents"):
        fitted(x, x)
    more = normal(7, 6).double()
    assert torch.allclose(fitted(more, more)(more), more)


def test_a_dimension_without_variance_has_no_weight(xy):
    x, y = (values.copy() for values in xy)
    x[:, 2], y[:, 1] = 5, -3
    found = fitted(x, y, [150, 150])
    assert torch.allclose(found.weight[2], torch.zeros(4, dtype=torch.float64), atol=1e-8)
    assert torch.allclose(found.weight[:, 1], torch.zeros(6, dtype=torch.float64), atol=1e-8)
    expected = with_intercept(x) @ np.linalg.lstsq(with_intercept(x), y, rcond=None)[0]
    assert np.allclose(found(torch.as_tensor(x)), expected, atol=1e-8)


def test_of_several_best_maps_the_one_with_the_smallest_weights_is_taken(xy):
    x, y = (values.copy() for values in xy)
    x[:, 3] = x[:, 0]
    found = fitted(x, y)
    expected = np.linalg.pinv(x - x.mean(0)) @ (y - y.mean(0))
    assert np.allclose(found.weight, expected, atol=1e-7)
    assert torch.allclose(found.weight[3], found.weight[0])


def test_nothing_that_varies_is_mapped_to_the_mean():
    x, y = torch.full((20, 3), 7.0), normal(20, 2)
    assert torch.allclose(fitted(x, y)(x), y.mean(0).expand(20, 2), atol=1e-6)


def test_the_record_of_activity_is_the_matrix_of_all_batches():
    active = torch.rand(50, 12, generator=torch.Generator().manual_seed(0)) < 0.2
    active[7] = False
    active[:, 3] = False
    record = ActivityRecord(12)
    for part in active.split([20, 0, 1, 29]):
        record.add(Active.of(part.float()))
    assert record.matrix().shape == (50, 12)
    assert np.array_equal(record.matrix().toarray(), active.int().numpy())


def test_features_that_are_never_active_still_have_columns():
    record = ActivityRecord(5)
    record.add(Active.of(torch.zeros(3, 5)))
    assert np.array_equal(record.matrix().toarray(), np.zeros((3, 5)))


@pytest.mark.parametrize("budget", [1, 8 * 7 * 5, 10**9])
def test_products_of_ones_and_zeros_count_what_lists_count(budget, monkeypatch):
    monkeypatch.setattr(fitting, "_TOKENS_AT_ONCE", 16)
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.rand(50, size, generator=generator) < 0.3 for size in (12, 7))
    source[:, 3] = False
    records = []
    for active in (source, target):
        records.append(ActivityRecord(active.shape[1]))
        for part in active.split([20, 0, 1, 29]):
            records[-1].add(Active.of(part.float()))
    expected = source.double().T @ target.double()
    for found in (together(*records), by_products(*records, budget)):
        assert found.dtype == np.int32
        assert found.has_sorted_indices
        assert found.nnz == int((expected > 0).sum())
        assert np.array_equal(found.toarray(), expected.numpy())


def test_a_document_in_both_texts_is_named():
    refuse_common_documents(["a", "b"], iter(["c", "d"]))
    refuse_common_documents([], ["a"])
    with pytest.raises(UserError, match="2 documents are in the fitting text and in the evaluated text, b among them"):
        refuse_common_documents({"a", "c", "b"}, ["d", "c", "b", "b"])
