import numpy as np
import pytest
import torch

from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.statistics.streaming import (
    Active,
    DocumentVectors,
    PairActivity,
    Spread,
    explained_change,
    explained_variance,
    explained_variance_mse,
    jaccard,
    macro_score,
    necessity,
    sufficiency,
)

N_DOCUMENTS = 12
ALL_AT_ONCE = [N_DOCUMENTS]
DIVISIONS = [ALL_AT_ONCE, [1, 11], [5, 3, 4], [1] * 12]


def spread(vectors, document, reference, weights=None, division=ALL_AT_ONCE):
    """Spread from batches of so many documents each."""
    vectors, reference = torch.as_tensor(vectors), torch.as_tensor(reference)
    weights = torch.ones(1, N_DOCUMENTS, dtype=torch.float64) if weights is None else weights
    columns, total, first = 0, 0, 0
    for size in division:
        inside = (document >= first) & (document < first + size)
        sums = DocumentVectors.of(vectors[inside], torch.as_tensor(document[inside] - first), size, reference)
        columns, total = columns + sums.weighted(weights[:, first : first + size]), total + sums.total
        first += size
    return Spread(columns, total, reference)


@pytest.fixture
def document():
    return np.sort(np.random.default_rng(2).integers(0, N_DOCUMENTS, 500))


@pytest.fixture
def x(document):
    """Vectors far from the origin, each document about a point of its own."""
    generator = np.random.default_rng(0)
    return generator.standard_normal((500, 7)) * np.arange(1, 8) + generator.standard_normal((12, 7))[document] + 1e6


@pytest.mark.parametrize("division", DIVISIONS)
def test_sums_in_any_division_equal_numpys_far_from_the_origin(x, document, division):
    found = spread(x, document, x[:20].mean(0), division=division)
    assert found.count == 500
    assert np.allclose(found.mean, x.mean(0), rtol=1e-14)
    assert found.variance.item() == pytest.approx(x.var(axis=0).sum(), rel=1e-9)
    assert found.mean_square.item() == pytest.approx(np.square(x).sum(1).mean(), rel=1e-13)


@pytest.mark.parametrize("reference", [0.0, 3.0, -50.0])
def test_the_reference_changes_nothing_but_rounding(document, reference):
    x = np.random.default_rng(1).standard_normal((500, 7)) + 2
    found = spread(x, document, np.full(7, reference))
    assert found.variance.item() == pytest.approx(x.var(axis=0).sum(), rel=1e-9)
    assert found.mean_square.item() == pytest.approx(np.square(x).sum(1).mean(), rel=1e-9)


def test_vectors_in_single_precision_are_summed_in_double(x, document):
    single = (x - 1e6).astype(np.float32)
    found = spread(single, document, np.zeros(7))
    assert found.variance.item() == pytest.approx(single.astype(float).var(axis=0).sum(), rel=1e-12)


def test_a_document_without_tokens_adds_nothing():
    sums = DocumentVectors.of(torch.ones(2, 3), torch.tensor([0, 2]), 4, torch.zeros(3, dtype=torch.float64))
    assert sums.columns[:, 0].tolist() == [1, 0, 1, 0]
    assert not sums.columns[[1, 3]].any()


@pytest.mark.parametrize("d_in", [7, 200])
def test_replicates_are_those_of_the_documents_drawn(document, d_in):
    """The mean square exactly; the variance but for how the sums of different documents lie to each other.

    Its interval, about the mean, is that of plain numpy on the documents drawn to a tenth of its width.
    """
    generator = np.random.default_rng(d_in)
    # Documents differ in their mean as well as in their spread, as texts do.
    scale, shift = generator.uniform(0.7, 1.3, (N_DOCUMENTS, 1)), generator.standard_normal((N_DOCUMENTS, d_in))
    x = generator.standard_normal((500, d_in)) * scale[document] + 0.3 * shift[document] + 100
    weights = bootstrap_weights("prose", range(N_DOCUMENTS), 0)
    found = spread(x, document, x.mean(0), weights, division=[5, 3, 4])
    assert found.variance[0].item() == pytest.approx(x.var(axis=0).sum(), rel=1e-9)
    exact = []
    for row, drawn in enumerate(weights[:, document].numpy().astype(int)):
        values = np.repeat(x, drawn, axis=0)
        assert found.mean_square[row].item() == pytest.approx(np.square(values).sum(1).mean(), rel=1e-9)
        exact.append(values.var(axis=0).sum())
    ends, expected = (np.percentile(variances[1:], [2.5, 97.5]) for variances in (found.variance.numpy(), exact))
    assert np.abs(ends - expected).max() < 0.1 * np.ptp(expected)
    assert np.mean(found.variance.numpy() - exact) == pytest.approx(0, abs=0.03 * np.ptp(expected))


def test_explained_variance_follows_its_definition(x, document):
    error = 0.1 * (x - 1e6) + np.random.default_rng(1).standard_normal(x.shape) + 2
    parts = spread(x, document, x[:20].mean(0)), spread(error, document, np.zeros(7), division=[5, 3, 4])
    assert explained_variance(*parts).item() == pytest.approx(1 - error.var(0).sum() / x.var(0).sum(), rel=1e-8)
    expected = 1 - np.square(error).sum(1).mean() / x.var(0).sum()
    assert explained_variance_mse(*parts).item() == pytest.approx(expected, rel=1e-8)


def test_explained_change_is_taken_of_what_the_layer_changes(document):
    generator = np.random.default_rng(3)
    change = generator.standard_normal((500, 7)) * np.arange(7, 0, -1) + 5
    error = 0.3 * change + generator.standard_normal((500, 7)) - 2
    parts = spread(change, document, change[:20].mean(0)), spread(error, document, np.zeros(7), division=[5, 3, 4])
    assert explained_change(*parts).item() == pytest.approx(1 - error.var(0).sum() / change.var(0).sum(), rel=1e-8)
    assert explained_change(parts[0], parts[0]).item() == 0
    worse = spread(2 * change, document, np.zeros(7))
    assert explained_change(parts[0], worse).item() == pytest.approx(-3)


def test_where_nothing_changes_there_is_no_explained_change(x, document):
    nothing, error = spread(np.zeros((500, 7)), document, np.zeros(7)), spread(x, document, x[:20].mean(0))
    assert explained_change(nothing, error).isnan().all()


def test_a_constant_shift_is_forgiven_by_the_one_and_not_by_the_other(x, document):
    parts = spread(x, document, x[:20].mean(0)), spread(np.full((500, 7), 3.0), document, np.zeros(7))
    assert explained_variance(*parts).item() == pytest.approx(1)
    assert explained_variance_mse(*parts).item() == pytest.approx(1 - 63 / x.var(0).sum())


def together(source, target, permutation, document, n_documents):
    """Activity of pairs, from which features are active on which tokens."""
    ours, theirs = (Active.of(active.float()) for active in (source, target))
    return PairActivity.of(ours, theirs, target.float(), permutation, document, n_documents)


def test_activity_of_pairs_and_its_scores_by_hand():
    source = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]]).bool()
    target = torch.tensor([[0, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    found = together(source, target, torch.tensor([1, 0, 2]), torch.tensor([0, 0, 2, 2]), 3)
    assert found.columns.tolist() == [[2, 3, 3], [0, 0, 0], [1, 2, 1]]
    assert found.joint.tolist() == [2, 1, 0]
    sums = found.columns.sum(0, keepdim=True)
    assert sufficiency(sums).item() == 3 / 5
    assert necessity(sums).item() == 3 / 4
    assert jaccard(sums).item() == 3 / (5 + 4 - 3)
    # The third feature is never active and has no score.
    assert macro_score(found.joint.double(), source.sum(0).double()) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_feature_without_a_partner_counts_as_a_source_only():
    always = torch.ones(4, 2).bool()
    found = together(always, always, torch.tensor([-1, 1]), torch.zeros(4, dtype=torch.int64), 1)
    assert found.joint.tolist() == [0, 4]
    assert found.columns.tolist() == [[4, 8, 4]]


def test_a_target_that_several_features_go_to_counts_for_each():
    always = torch.ones(3, 2).bool()
    found = together(always, always, torch.tensor([0, 0]), torch.zeros(3, dtype=torch.int64), 1)
    assert found.columns.tolist() == [[6, 6, 6]]


def test_no_active_feature_gives_nan():
    nothing = torch.zeros(2, 3, dtype=torch.float64)
    for score in (sufficiency, necessity, jaccard):
        assert score(nothing).isnan().all()
    assert np.isnan(macro_score(nothing[0], nothing[0]))


def test_active_features_are_counted_by_feature_and_by_document():
    f = torch.relu(torch.randn(50, 7, generator=torch.Generator().manual_seed(0)))
    document = torch.arange(50) % 3
    active = Active.of(f)
    assert torch.equal(active.by_feature(), (f > 0).sum(0))
    for number, count in enumerate(active.by_document(document, 4).tolist()):
        assert count == int((f[document == number] > 0).sum())


def test_pairs_are_counted_as_a_loop_would_count_them():
    generator = torch.Generator().manual_seed(1)
    source, target = (torch.rand(40, n, generator=generator) < 0.3 for n in (9, 6))
    permutation = torch.tensor([0, 3, -1, 3, 5, 1, -1, 2, 0])
    document = torch.arange(40) % 3
    found = together(source, target, permutation, document, 3)
    expected, joint = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(9, dtype=torch.int64)
    for token in range(40):
        for i, j in enumerate(permutation.tolist()):
            after = j >= 0 and bool(target[token, j])
            expected[document[token]] += torch.tensor([source[token, i] and after, source[token, i], after])
            joint[i] += int(source[token, i] and after)
    assert torch.equal(found.columns, expected)
    assert torch.equal(found.joint, joint)
