"""Further forms of explained variance against plain numpy, and against the plain bootstrap."""

import numpy as np
import pytest
import torch

from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.statistics.forms import (
    FormSpread,
    FormSums,
    Landmarks,
    UsualTokens,
    explained_variance_in,
    forms_of,
    is_by_dimension,
    scale_of,
    sums_under,
)

N_DOCUMENTS, TOKENS, D = 25, 40, 12
DOCUMENT = torch.arange(N_DOCUMENTS).repeat_interleave(TOKENS)
UNIT = torch.ones(D, dtype=torch.float64)
ONE = torch.ones(1, N_DOCUMENTS, dtype=torch.float64)


def residuals(seed=0, spread=None, shift=0.5):
    """Documents differ in their mean and in their spread, as texts do."""
    generator = np.random.default_rng(seed)
    scale, apart = generator.uniform(0.7, 1.3, (N_DOCUMENTS, 1)), generator.standard_normal((N_DOCUMENTS, D))
    x = generator.standard_normal((len(DOCUMENT), D)) * scale[DOCUMENT] + shift * apart[DOCUMENT]
    return torch.from_numpy(x * (np.ones(D) if spread is None else spread) + 50)


def errors(x, seed=1, share=0.6):
    """Error of a stand-in that shrinks every dimension a little differently, and adds noise."""
    generator = np.random.default_rng(seed)
    noise = torch.from_numpy(generator.standard_normal(x.shape)) * x.std(0) * share
    return noise - (x - x.mean(0)) * torch.from_numpy(generator.uniform(0, 0.4, D)) + 0.3 * x.std(0)


def measured(form, x, error, weights=ONE, division=(N_DOCUMENTS,)):
    """The sample's value and those of the replicates, from batches of so many documents."""
    scale = scale_of(x.mean(0), x.square().mean(0)) if is_by_dimension(form) else None
    parts = []
    for vectors in (x, error):
        columns, total, squares, first = 0, 0, 0, 0
        for size in division:
            inside = (first <= DOCUMENT) & (first + size > DOCUMENT)
            found = FormSums.of(vectors[inside], DOCUMENT[inside] - first, size, vectors.mean(0), scale)
            columns = columns + found.weighted(weights[:, first : first + size])
            total, squares, first = total + found.total, squares + found.squares, first + size
        count = TOKENS * weights.sum(1)
        parts.append(FormSpread(count, columns, total, squares, vectors.mean(0), UNIT if scale is None else scale))
    return explained_variance_in(form, *parts)


def by_dimension(x, error):
    """By its definition."""
    x, error = x.numpy(), error.numpy()
    return np.mean([1 - error[:, d].var() / x[:, d].var() for d in range(x.shape[1]) if np.ptp(x[:, d])])


def together(x, error):
    return 1 - float(error.var(0, unbiased=False).sum() / x.var(0, unbiased=False).sum())


def by_dimension_value(x, error, **more):
    return measured("by_dimension", x, error, **more)[0].item()


@pytest.mark.parametrize("division", [(25,), (1, 24), (10, 5, 10), (1,) * 25])
def test_the_samples_values_are_numpys_in_any_division(division):
    x = residuals(spread=np.arange(1, D + 1))
    error = errors(x)
    assert by_dimension_value(x, error, division=division) == pytest.approx(by_dimension(x, error), rel=1e-9)
    found = measured("normed", x, error, division=division)[0].item()
    assert found == pytest.approx(together(x, error), rel=1e-9)


def test_one_dimension_scaled_by_a_hundred_moves_explained_variance_and_not_that_by_dimension():
    x = residuals()
    error = errors(x)
    outlier = UNIT.clone()
    worst = int((error.var(0) / x.var(0)).argmax())
    outlier[worst] = 100
    assert by_dimension_value(x * outlier, error * outlier) == pytest.approx(by_dimension_value(x, error), rel=1e-9)
    of_one = 1 - float(error[:, worst].var() / x[:, worst].var())
    assert together(x * outlier, error * outlier) == pytest.approx(of_one, abs=0.01)
    assert abs(together(x, error) - of_one) > 0.05


def test_where_all_dimensions_vary_alike_it_is_explained_variance():
    x = residuals()
    x = (x - x.mean(0)) / x.std(0)
    error = errors(x)
    assert by_dimension_value(x, error) == pytest.approx(together(x, error), rel=1e-9)


def test_shifts_of_residual_or_stand_in_change_nothing():
    x = residuals(spread=np.arange(1, D + 1))
    error = errors(x)
    for form in ("by_dimension", "normed"):
        plain = measured(form, x, error)[0].item()
        assert measured(form, x + 30, error - 7)[0].item() == pytest.approx(plain, rel=1e-9)


def test_a_dimension_that_does_not_vary_is_left_out():
    x = residuals()
    error = errors(x)
    x[:, 5] = 7.3
    assert by_dimension_value(x, error) == pytest.approx(by_dimension(x, error), rel=1e-9)
    kept = [d for d in range(D) if d != 5]
    assert by_dimension_value(x, error) == pytest.approx(by_dimension(x[:, kept], error[:, kept]), rel=1e-9)


def test_nothing_wrong_explains_everything_without_an_interval():
    weights = bootstrap_weights("prose", range(N_DOCUMENTS), 0)
    x = residuals()
    for form in ("by_dimension", "normed"):
        assert measured(form, x, torch.zeros_like(x), weights).tolist() == [1.0] * len(weights)


def replicates(x, error, weights):
    """Values on the documents drawn, each written down as often as it was drawn; of all dimensions, and one by one."""
    for drawn in weights[:, DOCUMENT].numpy().astype(int):
        some_x, some_error = (np.repeat(values.numpy(), drawn, axis=0) for values in (x, error))
        ratios = some_error.var(axis=0) / some_x.var(axis=0)
        yield 1 - ratios.mean(), 1 - some_error.var(axis=0).sum() / some_x.var(axis=0).sum()


@pytest.mark.parametrize("spread", [1.0, np.linspace(1, 5, D), np.array([60.0] + [1.0] * (D - 1))])
def test_intervals_are_the_plain_bootstraps(spread):
    weights = bootstrap_weights("prose", range(N_DOCUMENTS), 0)[:401]
    x = residuals(spread=spread * np.ones(D))
    error = errors(x)
    exact = np.array(list(replicates(x, error, weights)))
    for number, form in enumerate(("by_dimension", "normed")):
        found = measured(form, x, error, weights).numpy()
        assert found[0] == pytest.approx(exact[0, number], rel=1e-9)
        ends, expected = (np.percentile(values[1:], [2.5, 97.5]) for values in (found, exact[:, number]))
        assert np.abs(ends - expected).max() < 0.15 * np.ptp(expected)


def test_extreme_tokens_are_left_out_of_the_usual_forms_alone():
    x = residuals()
    x[[3, 200, 201]] *= 50
    error = errors(x)
    norms = x.norm(dim=1)
    found = UsualTokens.of(norms, Landmarks(UNIT, 10 * float(norms.median())))
    usual = found.are
    assert torch.equal(found.places, usual.nonzero()[:, 0])
    assert (~usual).nonzero()[:, 0].tolist() == [3, 200, 201]
    zero, scale = torch.zeros(D, dtype=torch.float64), torch.full((D,), 2.0, dtype=torch.float64)
    forms = ("by_dimension", "by_dimension_usual")
    found = sums_under(forms, error, found, DOCUMENT, N_DOCUMENTS, zero, scale)
    torch.testing.assert_close(found["by_dimension"].total, error.sum(0))
    torch.testing.assert_close(found["by_dimension_usual"].total, error[usual].sum(0))
    torch.testing.assert_close(found["by_dimension_usual"].squares, error[usual].square().sum(0))
    every = UsualTokens.among(usual[usual])
    assert every.places is None
    alone = sums_under(forms, error[usual], every, DOCUMENT[usual], N_DOCUMENTS, zero, scale)
    assert alone["by_dimension"] is alone["by_dimension_usual"]
    assert torch.equal(alone["by_dimension"].columns, found["by_dimension_usual"].columns)


def test_where_no_norm_reads_residuals_only_dimensions_are_counted():
    assert forms_of(False) == ("by_dimension", "by_dimension_usual")
    assert [form for form in forms_of(True) if not is_by_dimension(form)] == ["normed", "normed_usual"]


def test_the_share_of_the_largest_dimension():
    x = residuals(spread=np.array([10.0] + [1.0] * (D - 1)))
    sums = FormSums.of(x, DOCUMENT, N_DOCUMENTS, x.mean(0), None)
    whole = FormSpread(TOKENS * ONE.sum(1), sums.weighted(ONE), sums.total, sums.squares, x.mean(0), UNIT)
    variance = x.var(0)
    assert whole.largest_share == pytest.approx(float(variance.max() / variance.sum()), rel=1e-9)
