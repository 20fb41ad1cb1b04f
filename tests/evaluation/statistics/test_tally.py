import numpy as np
import pytest
import torch

from sae_match.bootstrap import ROWS, bootstrap_weights
from sae_match.evaluation.statistics.streaming import DocumentVectors, PairActivity
from sae_match.evaluation.statistics.tally import Layout, Tally

LAYOUT = Layout(
    pairs=[(0, 2), (1, 2)],
    arms=["reconstruct_target", "layer_drop", "matched", "composed"],
    datasets=["prose", "code"],
    d_in=3,
    features={0: 4, 1: 5, 2: 6},
)
TOKENS = 7


def empty():
    tally = Tally(LAYOUT)
    keys = [*LAYOUT.layers(), *LAYOUT.runs()]
    tally.refer((key, torch.full((3,), float(number))) for number, key in enumerate(keys))
    return tally


def made_up(document, dataset):
    """Numbers of a document, always the same."""
    return np.random.default_rng([document, len(dataset)])


def vectors(document, key):
    """Vectors of a document's tokens: of a layer, or of an arm's errors."""
    number = [*LAYOUT.layers(), *LAYOUT.runs()].index(key)
    return number + made_up(document, key[-1]).standard_normal((TOKENS, 3)) * (1 + number)


def added(tally, dataset, documents):
    """Add a batch of made-up documents, each of the numbers that follow from its own."""
    weights = bootstrap_weights(dataset, documents, seed=0)
    generators = [made_up(document, dataset) for document in documents]
    positions = torch.arange(len(documents)).repeat_interleave(TOKENS)

    def sums(key):
        values = torch.from_numpy(np.concatenate([vectors(document, key) for document in documents]))
        return DocumentVectors.of(values, positions, len(documents), tally.reference(key))

    def numbers(columns):
        return torch.from_numpy(np.stack([generator.integers(0, 9, columns) for generator in generators])).double()

    tally.add_clean(dataset, numbers(2), weights)
    for key in (key for key in LAYOUT.layers() if key[1] == dataset):
        by_feature = numbers(LAYOUT.features[key[0]]).long().sum(0)
        tally.add_layer(key, sums(key), numbers(2), by_feature, weights)
    for key in (key for key in LAYOUT.runs() if key[2] == dataset):
        if key[1] == "reconstruct_target" and key[0] == (1, 2):
            continue
        tally.add_error(key, sums(key), weights)
        tally.add_loss(key, numbers(2), weights)
        if key[1] in ("matched", "composed"):
            joint = numbers(LAYOUT.features[key[0][0]]).long().sum(0)
            tally.add_pairs(key, PairActivity(numbers(3), joint), weights)
    return tally


def test_what_is_measured_follows_from_the_layout():
    assert LAYOUT.layers() == [(layer, dataset) for layer in (0, 1, 2) for dataset in ("prose", "code")]
    runs = [run[:2] for run in LAYOUT.runs() if run[2] == "code"]
    assert len(LAYOUT.runs()) == 2 * len(runs)
    assert runs == [
        *(((0, 2), arm) for arm in LAYOUT.arms),
        *(((1, 2), arm) for arm in ("reconstruct_target", "layer_drop", "matched")),
    ]


def test_sums_go_through_one_vector_and_back():
    tally = added(added(empty(), "prose", [0, 1]), "code", [0])
    other = empty()
    other.fill(tally.flat())
    assert torch.equal(other.flat(), tally.flat())
    assert other.documents("prose") == 2
    for key in LAYOUT.runs():
        assert torch.equal(other.loss(key), tally.loss(key))
        assert torch.equal(other.error(key).mean, tally.error(key).mean)
    kept = tally.flat()
    added(other, "prose", [5])
    assert torch.equal(tally.flat(), kept)


def test_sums_that_were_filled_in_are_their_own():
    flat = added(empty(), "prose", [0]).flat()
    other, kept = empty(), flat.clone()
    other.fill(flat)
    added(other, "prose", [1])
    assert torch.equal(flat, kept)


def test_sums_of_two_add_up_to_those_of_one_that_has_seen_all():
    batches = [("prose", [0, 1, 2]), ("prose", [3]), ("code", [0, 1]), ("code", [2, 3])]
    together, shares = empty(), [empty(), empty()]
    for number, batch in enumerate(batches):
        added(together, *batch)
        added(shares[number % 2], *batch)
    summed = empty()
    summed.fill(shares[0].flat() + shares[1].flat())
    assert torch.allclose(summed.flat(), together.flat(), rtol=1e-12, atol=1e-9)
    assert [summed.documents(dataset) for dataset in LAYOUT.datasets] == [4, 4]


def test_batches_may_be_cut_anywhere_and_come_in_any_order():
    whole = added(empty(), "prose", [0, 1, 2, 3])
    parts = empty()
    for documents in ([3], [0, 1], [2]):
        added(parts, "prose", documents)
    assert torch.allclose(parts.flat(), whole.flat(), rtol=1e-12, atol=1e-9)


def test_sums_of_another_layout_are_refused():
    with pytest.raises(ValueError, match="7 sums do not fill a layout of"):
        empty().fill(torch.zeros(7, dtype=torch.float64))


def test_residuals_and_errors_are_summed_about_their_references():
    tally = empty()
    for documents in ([0, 1], [2, 3]):
        added(tally, "prose", documents)
    for key, spread in [((1, "prose"), tally.residual), (((0, 2), "matched", "prose"), tally.error)]:
        values = np.concatenate([vectors(document, key) for document in range(4)])
        found = spread(key)
        assert found.columns.shape[0] == ROWS
        assert found.count == len(values)
        assert found.variance[0].item() == pytest.approx(values.var(axis=0).sum())
        assert found.mean_square[0].item() == pytest.approx(np.square(values).sum(1).mean())


def test_the_first_row_is_the_plain_sum_and_the_others_are_weighted():
    tally = empty()
    losses = torch.tensor([[2.0, 1.0], [3.0, 4.0]], dtype=torch.float64)
    weights = bootstrap_weights("prose", [8, 9], 0)
    tally.add_loss(((0, 2), "matched", "prose"), losses, weights)
    assert tally.loss(((0, 2), "matched", "prose"))[0].tolist() == [5, 5]
    assert torch.equal(tally.loss(((0, 2), "matched", "prose")), weights @ losses)
    for other in [((1, 2), "matched", "prose"), ((0, 2), "layer_drop", "prose"), ((0, 2), "matched", "code")]:
        assert not tally.loss(other).any()
    assert not tally.clean_loss("prose").any()


def test_what_does_not_depend_on_the_source_is_kept_once_a_target():
    tally = added(empty(), "code", [0, 1])
    near, far = (((source, 2), "reconstruct_target", "code") for source in (1, 0))
    assert tally.loss(near).any()
    assert torch.equal(tally.loss(near), tally.loss(far))
    assert torch.equal(tally.error(near).columns, tally.error(far).columns)
    assert torch.equal(tally.reference(near), tally.reference(far))


def test_matching_scores_are_kept_of_arms_that_match_only():
    tally = added(empty(), "code", [0])
    assert tally.together(((1, 2), "matched", "code")).shape == (ROWS, 3)
    assert tally.joint(((1, 2), "matched", "code")).shape == (5,)
    with pytest.raises(KeyError):
        tally.together(((1, 2), "layer_drop", "code"))
