import math

import numpy as np
import pytest
import torch

from sae_match.bootstrap import bootstrap_weights
from sae_match.evaluation.arm_names import CLEAN
from sae_match.evaluation.statistics.measures import _ends, _most_of, _recovered, results_of, spans_of
from sae_match.evaluation.statistics.results import Results
from sae_match.evaluation.statistics.streaming import PairActivity
from tests.evaluation.statistics.tallies import PAIR, doubles, empty, filled, spread


@pytest.fixture(scope="module")
def by_hand():
    """Two documents of two tokens."""
    tally, weights = empty(), bootstrap_weights("prose", [0, 1], 0)
    tally.add_clean("prose", doubles([[2, 2], [6, 2]]), weights)
    x = doubles([[[1, 0], [-1, 0]], [[0, 2], [0, -2]]])
    tally.add_layer((0, "prose"), spread(x), doubles([[2, 2], [2, 2]]), torch.tensor([3, 1]), weights)
    tally.add_layer((1, "prose"), spread(x), doubles([[1, 2], [4, 2]]), torch.tensor([2, 3]), weights)
    dropped, matched = ((PAIR, arm, "prose") for arm in ("layer_drop", "matched"))
    tally.add_error(dropped, spread(doubles([[[0, 1], [0, -1]], [[0, 0], [0, 0]]])), weights)
    tally.add_error(matched, spread(doubles([[[1, 1], [1, 1]], [[1, 1], [1, 1]]])), weights)
    tally.add_loss(dropped, doubles([[5, 2], [9, 2]]), weights)
    tally.add_loss(matched, doubles([[4, 2], [6, 2]]), weights)
    tally.add_pairs(matched, PairActivity(doubles([[1, 2, 1], [2, 2, 4]]), torch.tensor([2, 1])), weights)
    return tally


def test_results_by_hand(by_hand):
    expected = {
        (CLEAN, "loss"): 8 / 4,
        ("reconstruct_source", "l0"): 4 / 4,
        ("reconstruct_source", "residual_norm"): (10 / 4) ** 0.5,
        ("reconstruct_source", "dead_features"): 0,
        ("reconstruct_target", "l0"): 5 / 4,
        ("reconstruct_target", "residual_norm"): (10 / 4) ** 0.5,
        ("reconstruct_target", "dead_features"): 0,
        # The residual varies by (1 + 1 + 4 + 4) / 4.
        ("layer_drop", "delta_loss"): (14 - 8) / 4,
        ("layer_drop", "explained_variance"): 1 - 0.5 / 2.5,
        ("layer_drop", "explained_variance_mse"): 1 - 0.5 / 2.5,
        ("layer_drop", "explained_change"): 0,
        ("matched", "delta_loss"): (10 - 8) / 4,
        ("matched", "explained_variance"): 1,
        ("matched", "explained_variance_mse"): 1 - 2 / 2.5,
        ("matched", "explained_change"): 1,
        ("matched", "matching_score"): 3 / 4,
        ("matched", "necessity"): 3 / 5,
        ("matched", "jaccard"): 3 / (4 + 5 - 3),
        ("matched", "matching_score_macro"): (2 / 3 + 1) / 2,
    }
    found = list(results_of(by_hand))
    assert [(row.arm, row.metric) for row in found] == list(expected)
    assert [row.value for row in found] == pytest.approx(list(expected.values()))
    assert {(row.source_layer, row.target_layer, row.dataset) for row in found} == {(0, 1, "prose")}
    assert {(row.tokens, row.documents) for row in found} == {(4, 2)}


def test_intervals_contain_the_value():
    rows = [row for row in results_of(filled(40)[0]) if row.metric not in ("matching_score_macro", "dead_features")]
    with_intervals = [row for row in rows if (row.arm, row.metric) != ("layer_drop", "explained_change")]
    assert len(with_intervals) == 15
    assert all(row.low < row.value < row.high for row in with_intervals)


def test_leaving_the_layer_out_explains_no_change_exactly():
    (row,) = Results(results_of(filled(40)[0])).select(arm="layer_drop", metric="explained_change")
    assert (row.value, row.low, row.high) == (0, None, None)


def test_where_a_layer_changes_nothing_no_arm_has_a_share_of_it(by_hand):
    tally = empty()
    tally.fill(by_hand.flat())
    tally.error((PAIR, "layer_drop", "prose")).columns.zero_()
    for arm in ("layer_drop", "matched"):
        (row,) = Results(results_of(tally)).select(arm=arm, metric="explained_change")
        assert math.isnan(row.value)
        assert (row.low, row.high) == (None, None)


def test_one_document_gives_no_interval():
    assert all((row.low, row.high) == (None, None) for row in results_of(filled(1)[0]))
    assert all((row.low, row.high) == (None, None) for row in spans_of(filled(1)[0]))


def test_a_dataset_that_nothing_was_measured_on_has_no_results():
    tally, _ = filled(3, datasets=("prose", "code"))
    assert {row.dataset for row in results_of(tally)} == {row.dataset for row in spans_of(tally)} == {"prose"}
    assert list(results_of(empty())) == list(spans_of(empty())) == []


def test_where_nothing_is_active_there_is_no_score(by_hand):
    tally = empty()
    tally.fill(by_hand.flat())
    for sums in (tally.together((PAIR, "matched", "prose")), tally.active((0, "prose"))):
        sums.zero_()
    found = Results(results_of(tally)).select(arm="matched")
    for metric in ("matching_score", "necessity", "jaccard", "matching_score_macro"):
        (row,) = found.select(metric=metric)
        assert math.isnan(row.value)
        assert (row.low, row.high) == (None, None)


def test_spans_are_means_over_pairs_with_the_interval_of_the_mean():
    """The replicates draw the same documents for all pairs."""
    pairs = [(0, 1), (0, 2), (1, 2), (2, 3)]
    tally, added = filled(30, pairs)
    results, neighbours = Results(results_of(tally)), [(0, 1), (1, 2), (2, 3)]
    found = {(row.span, row.arm, row.metric): row for row in spans_of(tally)}
    for row in found.values():
        same = [value for value in results.select(arm=row.arm, metric=row.metric) if _span(value) == row.span]
        assert row.pairs == len(same) == (3 if row.span == 1 else 1)
        assert row.value == pytest.approx(np.mean([value.value for value in same]))
    weights = bootstrap_weights("prose", range(30), 0)[1:].numpy()
    by_document = sum(added[pair, "matched"] for pair in neighbours) / 3
    replicates = weights @ by_document / (weights.sum(1) * 9)
    row = found[1, "matched", "delta_loss"]
    assert (row.low, row.high) == pytest.approx(tuple(np.percentile(replicates, (2.5, 97.5))))
    (alone,) = results.select(source_layer=0, target_layer=2, arm="matched", metric="jaccard")
    one = found[2, "matched", "jaccard"]
    assert (one.value, one.low, one.high) == (alone.value, alone.low, alone.high)


def _span(row):
    return row.target_layer - row.source_layer


def test_rows_come_by_pair_and_spans_by_distance_with_arms_in_table_order():
    arms = ("random", "quantile_0.5", "matched", "layer_drop")
    pairs = [(0, 1), (0, 2), (1, 2)]
    ordered = ["layer_drop", "matched", "quantile_0.5", "random"]
    tally, _ = filled(3, pairs, arms)
    rows = [row for row in results_of(tally) if row.metric == "delta_loss"]
    expected = [(*pair, arm) for pair in pairs for arm in ordered]
    assert [(row.source_layer, row.target_layer, row.arm) for row in rows] == expected
    spans = [row for row in spans_of(tally) if row.metric == "delta_loss"]
    assert [(row.span, row.arm) for row in spans] == [(span, arm) for span in (1, 2) for arm in ordered]


def test_a_pair_without_a_score_is_not_counted_in_the_mean_of_a_span():
    tally, _ = filled(10, [(0, 1), (1, 2)])
    tally.together(((1, 2), "matched", "prose")).zero_()
    (row,) = (row for row in spans_of(tally) if row.metric == "matching_score")
    assert row.value == Results(results_of(tally)).value(source_layer=0, arm="matched", metric="matching_score")
    assert row.pairs == 1


def test_an_interval_of_recovered_loss_ends_at_one_but_differences_do_not():
    tally, weights = empty(arms=("mean", "matched")), bootstrap_weights("prose", list(range(6)), 0)
    tokens = torch.full((6,), 4.0, dtype=torch.float64)
    clean, mean = doubles([8.0] * 6), doubles([20.0] * 6)
    # In some documents the arm predicts better than the true residual.
    arm = clean + doubles([4.0, -3.5, 4.0, -4.0, 2.0, -1.5])
    tally.add_clean("prose", torch.stack([clean, tokens], 1), weights)
    for name, loss in (("mean", mean), ("matched", arm)):
        tally.add_loss((PAIR, name, "prose"), torch.stack([loss, tokens], 1), weights)
    assert _most_of("loss_recovered") == 1
    losses = [tally.loss((PAIR, name, "prose")) for name in ("matched", "mean")]
    rows = _recovered(*losses, tally.clean_loss("prose"))
    assert float(rows[1:].nan_to_num().max()) > 1
    low, high = _ends(tally, "prose", rows, _most_of("loss_recovered"))
    assert low < float(rows[0]) <= high == 1
    assert _ends(tally, "prose", rows, math.inf)[1] > 1
