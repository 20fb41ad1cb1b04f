"""The whole validation against an independent computation, and against itself run in other ways."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sae_match import bundled
from sae_match.evaluation import resuming, survey
from sae_match.evaluation.arm_names import ARMS, CLEAN, JUDGED_ARMS, MATCHING_ARMS, OF_TWO_MODELS
from sae_match.evaluation.passes.text import ValidationText
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.model.loading import load_model
from sae_match.model.settings import ModelSettings
from tests.evaluation.naive import Naive, affine_map, costs, stand_in
from tests.evaluation.validating import (
    SOURCES,
    TEXT,
    collection_of,
    documents,
    text_of,
    trainer,
    validated,
)

PAIRS = [(2, 3), (2, 4), (3, 4)]
QUANTILES = {"quantile_0.1": 102, "quantile_0.5": 512, "quantile_0.7": 717}
OF_ONE_MODEL = [arm for arm in ARMS if arm not in OF_TWO_MODELS]
EVERY_ARM = [*OF_ONE_MODEL, *QUANTILES]
# One of each kind, for what is run many times.
FEW = ["reconstruct_target", "linear_map_sae", "matched", "composed", "coactivation", "quantile_0.5"]


@pytest.fixture(scope="module")
def collection():
    return collection_of(2, 3, 4)


@pytest.fixture(scope="module")
def again(bundled_model, collection, cache, data, fitting, tmp_path_factory):
    """The validation, once more, with changes."""

    def run(model=bundled_model, data=data, fitting=fitting, cache=cache, **changes):
        settings = {"arms": FEW, "spans": [1, 2], **changes}
        return validated(model, tmp_path_factory.mktemp("run"), collection, data, cache, fitting, **settings)

    return run


@pytest.fixture(scope="module")
def run(again):
    return again(arms=EVERY_ARM, rotations=1, checked=True)


@pytest.fixture(scope="module")
def few(again):
    return again()


@pytest.fixture(scope="module")
def naive(bundled_model, collection, data):
    saes = {layer: collection.open(layer) for layer in (2, 3, 4)}
    return {dataset: Naive(bundled_model[0], saes, documents(data, dataset)) for dataset in SOURCES}


@pytest.fixture(scope="module")
def fitted(bundled_model, collection, fitting):
    return Naive(bundled_model[0], {layer: collection.open(layer) for layer in (2, 3, 4)}, documents(fitting))


def solved(cost, partner):
    """A permutation whose total is that of scipy's."""
    everyone = np.arange(len(cost))
    assert (np.sort(partner) == everyone).all()
    assert cost[everyone, partner].sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum(), rel=1e-9)
    return partner


@pytest.fixture(scope="module")
def folded_costs(naive):
    """Of every two features, folded, by pair of layers."""
    saes = next(iter(naive.values())).saes
    return {pair: costs(saes[pair[0]].folded, saes[pair[1]].folded) for pair in PAIRS}


@pytest.fixture(scope="module")
def partners(run, naive, fitted, folded_costs):
    """Where each arm sends features, by pair of layers."""
    saes = next(iter(naive.values())).saes
    found = {}
    for pair in PAIRS:
        source, target = (saes[layer] for layer in pair)
        theirs = {arm: one.permutation.numpy() for arm, one in run.matchings[pair].matchings.items()}
        together = fitted.active(pair[0]).T.astype(float) @ fitted.active(pair[1])
        found[pair] = {
            "matched": solved(folded_costs[pair], theirs["matched"]),
            "matched_unfolded": solved(costs(source, target), theirs["matched_unfolded"]),
            "coactivation": solved(-together, theirs["coactivation"]),
            "nearest": folded_costs[pair].argmin(1),
            "identity": np.arange(1024),
            "random": theirs["random"],
        }
    found[2, 4]["composed"] = np.array([found[3, 4]["matched"][middle] for middle in found[2, 3]["matched"]])
    return found


@pytest.mark.parametrize("dataset", SOURCES)
@pytest.mark.parametrize("arm", EVERY_ARM)
@pytest.mark.parametrize("pair", PAIRS)
def test_every_metric_of_every_arm_equals_the_naive_computation(
    run, naive, fitted, folded_costs, partners, pair, arm, dataset
):
    at = {"source_layer": pair[0], "target_layer": pair[1], "dataset": dataset, "arm": arm}
    found = {row.metric: row.value for row in run.results.select(**at)}
    if arm == "composed" and pair != (2, 4):
        assert found == {}
        return
    plain, (source, target) = naive[dataset], (naive[dataset].saes[layer] for layer in pair)
    partner = partners[pair].get("matched" if arm in (*QUANTILES, *JUDGED_ARMS, "swapped") else arm)
    chosen = np.zeros(1024, bool)
    if arm in QUANTILES:
        of_pairs = folded_costs[pair][np.arange(1024), partner]
        chosen[np.argsort(of_pairs)[: QUANTILES[arm]]] = True
    if arm in JUDGED_ARMS:
        # Some pairs are significant and some are not, so that either is seen; which ones, matchings are tested for.
        chosen = run.matchings[pair].judged.significance.q.numpy() <= 0.05
        assert 0.5 < chosen.mean() < 0.95
    linear = affine_map(*(fitted.x(layer) for layer in pair)) if arm.startswith("linear") else None
    mean = fitted.x(pair[1]).mean(0)
    expected = plain.of_arm(pair, stand_in(arm, source, target, partner, linear, chosen, mean))
    of_mean = plain.of_arm(pair, stand_in("mean", source, target, mean=mean))["delta_loss"]
    expected["loss_recovered"] = 1 - expected["delta_loss"] / of_mean
    if arm in MATCHING_ARMS:
        expected |= plain.of_partners(pair, partner)
    if arm.startswith("reconstruct"):
        expected |= plain.of_layer(pair[0] if arm == "reconstruct_source" else pair[1])
    assert found == pytest.approx(expected, rel=1e-5, abs=2e-6)


def test_what_a_layer_changes_is_known_also_where_no_arm_leaves_it_out(run, few):
    found = few.results.select(metric="explained_change")
    arms = set(FEW) - {"composed"}
    assert len(found) == len(SOURCES) * (len(PAIRS) * len(arms) + 1)
    for row in found:
        at = {"source_layer": row.source_layer, "target_layer": row.target_layer, "dataset": row.dataset}
        expected = run.results.value(**at, arm=row.arm, metric="explained_change")
        assert row.value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dataset", SOURCES)
def test_the_clean_loss_is_that_of_the_model(run, naive, dataset):
    rows = run.results.select(dataset=dataset, arm=CLEAN)
    assert [(row.source_layer, row.target_layer, row.metric) for row in rows] == [(*pair, "loss") for pair in PAIRS]
    for row in rows:
        assert row.value == pytest.approx(naive[dataset].clean.mean(), rel=1e-6)


def assert_near(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        assert replace(one, value=0.0, low=None, high=None) == replace(other, value=0.0, low=None, high=None)
        assert one.value == pytest.approx(other.value, nan_ok=True, **tolerance), one


def test_results_do_not_depend_on_batches(bundled_model, few, again):
    module = again(data=text_of(bundled_model[1], replace(TEXT, batch=3)))
    assert_near(module.results, few.results, rel=1e-5, abs=2e-6)
    for one, other in zip(module.results, few.results, strict=True):
        ends = (other.low, other.high)
        assert (one.low, one.high) == (ends if None in ends else pytest.approx(ends, rel=1e-3, abs=1e-4)), one


def test_little_memory_takes_more_passes_and_readings_and_gives_the_same_numbers(few, again, collection, monkeypatch):
    read, opened = [], collection.open
    monkeypatch.setattr(collection, "open", lambda layer: read.append(layer) or opened(layer))
    module = again(memory=1e-9)
    assert (few.plan().clean_passes, module.plan().clean_passes) == (1, 3)
    assert len(read) > 4 * len(PAIRS)
    assert list(module.results) == list(few.results)


def test_spans_are_means_over_pairs(run):
    assert {(row.span, row.pairs) for row in run.spans} == {(1, 2), (2, 1)}
    results = run.results
    for row in run.spans:
        wanted = {"arm": row.arm, "dataset": row.dataset, "metric": row.metric}
        chosen = [one for one in results.select(**wanted) if one.target_layer - one.source_layer == row.span]
        assert len(chosen) == row.pairs
        assert row.value == pytest.approx(sum(one.value for one in chosen) / row.pairs)
        if (row.arm, row.metric) in (("mean", "loss_recovered"), ("layer_drop", "explained_change")):
            assert (row.value, row.low, row.high) == (0, None, None)
            continue
        assert row.low < row.high
        if row.pairs == 1:
            assert (row.low, row.high) == (chosen[0].low, chosen[0].high)


def test_an_interrupted_run_goes_on_after_its_last_finished_batch(few, again, cache, caplog, monkeypatch):
    # After every batch, however quick it was.
    monkeypatch.setattr(resuming, "_TIMES_WRITING", 0.0)
    asked = []

    def interrupt(what, done, _):
        # In the middle of the third batch: one of its pairs is done.
        if what == "validating" and done == 2 * len(PAIRS) + 1:
            raise KeyboardInterrupt

    def record(what, done, total):
        asked.append((done, total)) if what == "validating" else None

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        again(watch=interrupt)
    kept = list((cache / "validations").iterdir())
    assert kept
    with caplog.at_level(logging.INFO):
        module = again(watch=record)
    assert "going on after 2 batches" in caplog.text
    assert (asked[0], asked[-1]) == ((2 * len(PAIRS), 4 * len(PAIRS)), (4 * len(PAIRS), 4 * len(PAIRS)))
    assert list(module.results) == list(few.results)
    assert module.spans == few.spans
    assert not any(file.exists() for file in kept)


def test_another_run_does_not_go_on_from_an_interrupted_one(again, caplog):
    def interrupt(what, done, _):
        if what == "validating" and done > len(PAIRS):
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        again(arms=["layer_drop"], watch=interrupt)
    with caplog.at_level(logging.INFO):
        again(arms=["layer_drop"], seed=1)
        assert "going on" not in caplog.text
        again(arms=["layer_drop"])
        assert "going on" in caplog.text


def test_the_run_leaves_matchings_that_reload_and_validates_again_to_the_same_numbers(again, data, tmp_path):
    module = again(arms=["matched"], spans=[1])
    file = module.around.folder / "matchings" / "L02-L03.safetensors"
    assert torch.equal(Matching.load(file).permutation, module.matchings[2, 3].matchings["matched"].permutation)
    first = list(module.results)
    trainer(tmp_path).validate(module, ValidationText(data), verbose=False)
    assert list(module.results) == first


@pytest.mark.parametrize("arm", ["quantile_0.5", "composed", "linear_map_sae"])
def test_an_arm_alone_gives_what_it_gives_among_others(few, again, arm):
    module = again(arms=[arm], spans=[2])
    alone = [row for row in module.results if row.arm == arm]
    expected = few.results.select(arm=arm, source_layer=2, target_layer=4)
    assert len(alone) == len(expected) > 0
    assert_near(alone, expected, rel=1e-5, abs=2e-6)


def test_a_matcher_that_does_not_fold_is_measured_once_and_reported_under_both_names(run, again):
    arms, unfolded = ["matched", "matched_unfolded", "quantile_0.5", "random"], MatcherSettings(fold="none")
    module = again(arms=arms, matcher=unfolded)
    # One resumption less for each pair.
    assert module.plan().heads == 1 + 3 * len(PAIRS)
    assert module.subject.arms == ["matched", "quantile_0.5", "random"]
    matched, twin = (list(module.results.select(arm=arm)) for arm in arms[:2])
    assert twin == [replace(row, arm="matched_unfolded") for row in matched]
    assert [row.arm for row in module.spans if row.arm == "matched_unfolded"]
    # What a folded run says of its unfolded arm, and of the baselines, which stay folded.
    for arm in ("matched_unfolded", "random"):
        # Without the arm `mean` there is no scale for losses.
        folded = [row for row in run.results.select(arm=arm) if row.metric != "loss_recovered"]
        assert_near(module.results.select(arm=arm), folded, rel=1e-5, abs=2e-6)


def test_a_model_in_bfloat16_gives_nearly_the_same_numbers(few, again):
    # Not `coactivation`: what is active together now and then decides its pairs.
    arms = [arm for arm in FEW if arm != "coactivation"]
    module = again(load_model(ModelSettings(bundled.path("model"), dtype="bfloat16")), arms=arms)
    expected = [row for row in few.results if row.arm != "coactivation"]
    assert_near(module.results, expected, rel=0.05, abs=0.15)


def test_tokens_and_documents_are_counted(run, data):
    assert any(not batch.attention_mask.all() for batch in data.batches)
    for dataset, tokens in data.tokens().items():
        chosen = run.results.select(arm="matched", dataset=dataset)
        assert {row.tokens for row in chosen.select(metric="explained_variance")} == {tokens}
        assert {row.tokens for row in chosen.select(metric="matching_score")} == {tokens}
        assert {row.tokens for row in chosen.select(metric="delta_loss")} == {tokens - 3}
        assert {row.documents for row in chosen} == {3}


def test_tokens_of_extreme_norm_are_left_out_of_the_usual_forms(bundled_model, collection, data, again, monkeypatch):
    saes = {layer: collection.open(layer) for layer in (3, 4)}
    plain = Naive(bundled_model[0], saes, documents(data, "prose"))
    norms = np.sort(np.sqrt(np.square(plain.x(4)).sum(1)))[-30:-3]
    # No norm of the bundled model is extreme. The bound is put into the widest gap among the longest, so that the half
    # percent that is not known of the median decides about no token.
    gap = int(np.diff(np.log(norms)).argmax())
    assert norms[gap + 1] / norms[gap] > 1.012
    plain.multiple = np.sqrt(norms[gap] * norms[gap + 1]) / np.median(np.sqrt(np.square(plain.x(4)).sum(1)))
    monkeypatch.setattr(survey, "EXTREME", plain.multiple)
    found = again(arms=["layer_drop", "mean"], spans=[1]).results.select(target_layer=4, dataset="prose")
    share = plain.extreme(4).mean()
    assert 0 < share == pytest.approx(found.value(arm="reconstruct_target", metric="extreme_tokens"))
    expected = plain.of_arm((3, 4), lambda x, _: x)
    for form in ("by_dimension", "normed"):
        with_all, without = (f"explained_variance_{form}{ending}" for ending in ("", "_usual"))
        assert expected[with_all] != expected[without]
        for metric in (with_all, without):
            assert found.value(arm="layer_drop", metric=metric) == pytest.approx(expected[metric], rel=1e-5)
        (row,) = found.select(arm="layer_drop", metric=without)
        assert row.low < row.value < row.high
        assert row.tokens == round(data.tokens()["prose"] * (1 - share))


def test_what_no_norm_reads_has_no_metric_behind_one(bundled_model, again, monkeypatch):
    monkeypatch.setattr(type(bundled_model[0].anatomy), "reading_norm", lambda *_: None)
    metrics = {row.metric for row in again(arms=["layer_drop"], spans=[1]).results}
    assert {metric for metric in metrics if metric.startswith("explained_variance_")} == {
        "explained_variance_mse",
        "explained_variance_by_dimension",
        "explained_variance_by_dimension_usual",
    }
