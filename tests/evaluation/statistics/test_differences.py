"""Paired differences against direct bootstraps over documents, on numbers and on raw vectors."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from sae_match.bootstrap import bootstrap_weights, interval
from sae_match.evaluation.statistics.differences import (
    differences_between,
    differences_of,
    excludes_zero,
    save_differences,
)
from sae_match.evaluation.statistics.measures import results_of
from sae_match.evaluation.statistics.replicates import Number, Replicates
from sae_match.evaluation.statistics.results import Results
from tests.evaluation.statistics.tallies import PAIR, empty, filled, spread

PAIRS = [(0, 1), (1, 2), (0, 2)]


def of(tally, seed=0, text="a"):
    return replace(Replicates.of(tally, [], seed), texts={"prose": text})


def only(rows, **wanted):
    (found,) = (row for row in rows if all(getattr(row, name) == value for name, value in wanted.items()))
    return found


def drawn(documents, times=4000):
    """How often plain draws with replacement count each document."""
    generator = np.random.default_rng(5)
    return generator.multinomial(documents, np.full(documents, 1 / documents), size=times)


@pytest.mark.parametrize("span", [1, 2])
def test_a_difference_of_means_has_the_interval_of_a_direct_bootstrap_over_documents(span):
    tally, added = filled(60, PAIRS, arms=("layer_drop", "matched", "random"))
    row = only(
        differences_of(of(tally)), span=span, source_layer=None, arm="random", than="matched", metric="delta_loss"
    )
    pairs = [pair for pair in PAIRS if pair[1] - pair[0] == span]
    apart = sum(added[pair, "random"] - added[pair, "matched"] for pair in pairs) / len(pairs)
    assert row.pairs == len(pairs)
    assert row.value == pytest.approx(apart.sum() / (60 * 9))
    weights = bootstrap_weights("prose", range(60), 0)[1:].numpy()
    same = np.percentile(weights @ apart / (weights.sum(1) * 9), (2.5, 97.5))
    assert (row.low, row.high) == pytest.approx(tuple(same))
    plain = np.percentile(drawn(60) @ apart / (60 * 9), (2.5, 97.5))
    assert np.abs(np.array([row.low, row.high]) - plain).max() < 0.15 * np.ptp(plain)


def test_a_difference_of_explained_variance_is_that_of_raw_vectors():
    """Errors of both arms are alike but for a little: their difference is known far better than either."""
    generator = torch.Generator().manual_seed(1)
    x, noise, other = (torch.randn(80, 12, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    # Some documents are hard for both.
    hard = torch.rand(80, 1, 1, generator=generator, dtype=torch.float64) * 2
    errors = {"layer_drop": noise * hard, "matched": noise * hard * 1.02 + 0.05 * other}
    tally, weights = empty(d_in=5), bootstrap_weights("prose", range(80), 0)
    tally.add_clean("prose", torch.ones(80, 2, dtype=torch.float64), weights)
    for layer in PAIR:
        tally.add_layer((layer, "prose"), spread(x), torch.ones(80, 2).double() * 12, torch.tensor([1, 1]), weights)
    for arm, error in errors.items():
        tally.add_error((PAIR, arm, "prose"), spread(error), weights)
        tally.add_loss((PAIR, arm, "prose"), torch.ones(80, 2, dtype=torch.float64), weights)
    found = list(differences_of(of(tally)))
    results = Results(results_of(tally))

    def explained(arm, counts, over):
        mine, base = (np.repeat(one.numpy(), counts, 0).reshape(-1, 5) for one in (errors[arm], over))
        return 1 - mine.var(axis=0).sum() / base.var(axis=0).sum()

    for metric, over in (("explained_variance", x), ("explained_change", errors["layer_drop"])):
        row = only(found, source_layer=0, arm="layer_drop", metric=metric)
        direct = [
            explained("layer_drop", counts, over) - explained("matched", counts, over) for counts in drawn(80, 600)
        ]
        once = np.ones(80, int)
        assert row.value == pytest.approx(explained("layer_drop", once, over) - explained("matched", once, over))
        ends = np.percentile(direct, (2.5, 97.5))
        assert np.abs(np.array([row.low, row.high]) - ends).max() < 0.15 * np.ptp(ends)
    # Either is uncertain by far more than by what they differ, so that their intervals overlap.
    first, second = (results.select(arm=arm, metric="explained_variance").rows[0] for arm in errors)
    assert first.low < second.high
    row = only(found, source_layer=0, arm="layer_drop", metric="explained_variance")
    assert row.low > 0
    assert row.differs
    assert row.high - row.low < 0.2 * (first.high - first.low)


def planted(differ):
    """Two arms on the same hard and easy documents; the second costs a little more on each, or as often less."""
    tally, weights = empty(), bootstrap_weights("prose", range(40), 0)
    generator = np.random.default_rng(0)
    hard = torch.from_numpy(generator.uniform(0, 40, 40))
    more = torch.from_numpy(generator.normal(0.5 if differ else 0, 0.3, 40))
    tally.add_clean("prose", torch.full((40, 2), 10).double(), weights)
    for layer in PAIR:
        x = torch.from_numpy(generator.standard_normal((40, 3, 2)))
        tally.add_layer((layer, "prose"), spread(x), torch.full((40, 2), 3).double(), torch.tensor([1, 1]), weights)
    for arm, loss in (("matched", hard), ("layer_drop", hard + more)):
        tally.add_error((PAIR, arm, "prose"), spread(x), weights)
        tally.add_loss((PAIR, arm, "prose"), torch.stack([10 + loss, torch.full((40,), 10.0).double()], 1), weights)
    return tally


@pytest.mark.parametrize("differ", [True, False])
def test_arms_whose_intervals_overlap_differ_only_where_the_interval_of_their_difference_excludes_zero(differ):
    tally = planted(differ)
    one, other = (
        Results(results_of(tally)).select(arm=arm, metric="delta_loss").rows[0] for arm in ("matched", "layer_drop")
    )
    assert other.low < one.value < other.high
    assert one.low < other.value < one.high
    row = only(differences_of(of(tally)), source_layer=0, metric="delta_loss")
    assert (row.arm, row.than) == ("layer_drop", "matched")
    assert row.differs is differ
    assert (row.low > 0) is differ


def test_every_two_arms_are_compared_once_and_matched_is_what_others_are_compared_with():
    arms = ("reconstruct_target", "layer_drop", "matched", "random")
    tally, _ = filled(5, PAIRS, arms)
    found = [row for row in differences_of(of(tally)) if row.metric == "delta_loss" and row.source_layer == 0]
    couples = [(row.arm, row.than) for row in found if row.target_layer == 1]
    assert couples == [
        ("reconstruct_target", "matched"),
        ("layer_drop", "matched"),
        ("random", "matched"),
        ("layer_drop", "reconstruct_target"),
        ("random", "reconstruct_target"),
        ("random", "layer_drop"),
    ]
    scores = [row for row in differences_of(of(tally)) if row.metric == "matching_score"]
    assert scores == []


def test_an_arm_and_its_twin_do_not_differ():
    tally, _ = filled(20, arms=("matched", "random"))
    same = of(tally)
    one, other = (Number(0, 1, arm, "prose", "delta_loss") for arm in ("matched", "random"))
    values = {**same.values, other: same.values[one]}
    row = only(differences_of(replace(same, values=values)), source_layer=0, arm="random", metric="delta_loss")
    assert (row.value, row.low, row.high, row.differs) == (0, None, None, False)


def test_one_document_and_no_number_give_no_interval_and_no_difference():
    assert {(row.low, row.high, row.differs) for row in differences_of(of(filled(1)[0]))} == {(None, None, False)}
    tally, _ = filled(10, PAIRS)
    tally.error(((0, 1), "matched", "prose")).columns[:, 1:].fill_(torch.nan)
    found = [row for row in differences_of(of(tally)) if row.metric == "explained_variance"]
    of_what = [(row.span, row.source_layer, row.pairs) for row in found]
    assert of_what == [(1, None, 1), (2, None, 1), (1, 1, 1), (2, 0, 1)]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 0.2, True),
        (-0.2, -0.1, True),
        (-0.1, 0.1, False),
        (0.0, 0.1, False),
        (1e-7, 2e-7, False),
        (None, None, False),
    ],
)
def test_what_is_within_rounding_of_zero_is_no_difference(low, high, expected):
    assert excludes_zero(low, high) is expected


def test_runs_on_the_same_documents_are_compared_over_the_pairs_of_layers_that_both_have():
    first, one = filled(30, PAIRS)
    second, other = filled(30, [(1, 2), (2, 3)], seed=3)
    rows = list(differences_between(of(first), of(second)))
    row = only(rows, arm="matched", metric="delta_loss")
    apart = other[(1, 2), "matched"] - one[(1, 2), "matched"]
    weights = bootstrap_weights("prose", range(30), 0)
    values = torch.from_numpy(weights.numpy() @ apart) / (weights.sum(1) * 9)
    assert (row.span, row.dataset, row.pairs) == (1, "prose", 1)
    assert row.value == pytest.approx(float(values[0]))
    assert (row.low, row.high) == pytest.approx(interval(values))


def test_a_run_and_itself_do_not_differ():
    found = of(filled(10)[0])
    assert {(row.value, row.low, row.high) for row in differences_between(found, found)} == {(0, None, None)}


def test_runs_on_other_documents_or_by_other_draws_have_no_paired_difference():
    found = of(filled(10)[0])
    for other in (replace(found, texts={"prose": "b"}), replace(found, texts={}), replace(found, seed=1)):
        assert list(differences_between(found, other)) == []


def test_what_is_written_says_all(tmp_path):
    rows = list(differences_of(of(filled(4, PAIRS)[0])))
    save_differences(rows, tmp_path / "differences.csv")
    with (tmp_path / "differences.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows)
    columns = "span,source_layer,target_layer,arm,than,dataset,metric,value,low,high,pairs,differs"
    assert ",".join(read[0]) == columns
    assert (read[0]["source_layer"], read[0]["arm"], read[0]["than"]) == ("", "layer_drop", "matched")
    assert [float(row["value"]) for row in read] == [row.value for row in rows]
