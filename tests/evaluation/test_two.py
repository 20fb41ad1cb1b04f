"""Validations between two collections, against the naive computation and in what they refuse."""

import csv
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sae_match.errors import UserError
from sae_match.evaluation import resuming
from sae_match.evaluation.arm_names import ARMS, BETWEEN_LAYERS, COMPOSED, MATCHING_ARMS, OF_TWO_MODELS
from sae_match.evaluation.cautions import named_l0s
from sae_match.evaluation.scope import Scope
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.statistics.results import Results
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.matching.significance.rematching import some_features
from sae_match.saes.collection import SAECollection
from sae_match.saes.two import TwoCollections
from tests.evaluation.naive import Naive, affine_map, costs, stand_in
from tests.evaluation.validating import SOURCES, collection_of, documents, saved, seeds, validated

PAIRS = [(3, 3), (3, 4)]
KEPT = 700
EVERY_ARM = [arm for arm in ARMS if arm not in (COMPOSED, *OF_TWO_MODELS)]
SAME_LAYER = [arm for arm in EVERY_ARM if arm not in BETWEEN_LAYERS]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The bundled SAEs, and fewer features of the other seed."""
    first, second = seeds()
    few = {layer: some_features(second.open(layer), torch.arange(1024) < KEPT) for layer in (3, 4)}
    return TwoCollections(first, saved(few, tmp_path_factory.mktemp("saes") / "narrow"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run(bundled_model, folder, both, data, cache, fitting):
    pairs = [list(pair) for pair in PAIRS]
    return validated(
        bundled_model, folder, both, data, cache, fitting, arms=EVERY_ARM, pairs=pairs, rotations=1, checked=True
    )


@pytest.fixture(scope="module")
def naive(bundled_model, both, data):
    """Of each dataset, the model with the sources and with the targets."""
    stream, sides = bundled_model[0], (both.sources, both.targets)
    saes = [{layer: side.open(layer) for layer in (3, 4)} for side in sides]
    return {dataset: [Naive(stream, side, documents(data, dataset)) for side in saes] for dataset in SOURCES}


@pytest.fixture(scope="module")
def fitted(bundled_model, both, fitting):
    sides = (both.sources, both.targets)
    return [Naive(bundled_model[0], {layer: one.open(layer) for layer in (3, 4)}, documents(fitting)) for one in sides]


def solved_in_part(cost, partner):
    """A matching of the wider side to the narrower whose total is that of scipy's, seen from the narrower."""
    back = np.full(cost.shape[1], -1)
    back[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    assert (partner >= 0).sum() == cost.shape[1]
    everyone = np.arange(cost.shape[1])
    square = cost.T
    assert square[everyone, back].sum() == pytest.approx(square[linear_sum_assignment(square)].sum(), rel=1e-9)
    return partner


@pytest.mark.parametrize("dataset", SOURCES)
@pytest.mark.parametrize("arm", EVERY_ARM)
@pytest.mark.parametrize("pair", PAIRS)
def test_every_metric_of_every_arm_equals_the_naive_computation(run, naive, fitted, pair, arm, dataset):
    at = {"source_layer": pair[0], "target_layer": pair[1], "dataset": dataset, "arm": arm}
    found = {row.metric: row.value for row in run.results.select(**at)}
    if pair == (3, 3) and arm in BETWEEN_LAYERS:
        assert found == {}
        return
    one, other = naive[dataset]
    source, target = one.saes[pair[0]], other.saes[pair[1]]
    theirs = {name: matching.permutation.numpy() for name, matching in run.matchings[pair].matchings.items()}
    partner = theirs.get(arm, theirs["matched"])
    linear = affine_map(*(fitted[0].x(layer) for layer in pair)) if arm.startswith("linear") else None
    chosen = run.matchings[pair].judged.significance.q.numpy() <= 0.05
    mean = fitted[1].x(pair[1]).mean(0)
    expected = one.of_arm(pair, stand_in(arm, source, target, partner, linear, chosen, mean))
    of_mean = one.of_arm(pair, stand_in("mean", source, target, mean=mean))["delta_loss"]
    expected["loss_recovered"] = 1 - expected["delta_loss"] / of_mean
    if arm in MATCHING_ARMS:
        expected |= one.of_partners(pair, partner, other)
    if arm.startswith("reconstruct"):
        expected |= one.of_layer(pair[0]) if arm == "reconstruct_source" else other.of_layer(pair[1])
    assert found == pytest.approx(expected, rel=1e-5, abs=2e-6)


def test_matchings_are_the_cheapest_and_baselines_stay_within_the_target(run, naive, fitted):
    one, other = next(iter(naive.values()))
    for pair in PAIRS:
        theirs = {name: matching.permutation.numpy() for name, matching in run.matchings[pair].matchings.items()}
        source, target = one.saes[pair[0]], other.saes[pair[1]]
        folded = costs(source.folded, target.folded)
        solved_in_part(folded, theirs["matched"])
        solved_in_part(costs(source, target), theirs["matched_unfolded"])
        solved_in_part(-fitted[0].active(pair[0]).T.astype(float) @ fitted[1].active(pair[1]), theirs["coactivation"])
        assert (theirs["nearest"] == folded.argmin(1)).all()
        assert (theirs["identity"] == np.where(np.arange(1024) < KEPT, np.arange(1024), -1)).all()
        drawn = theirs["random"][theirs["random"] >= 0]
        assert sorted(drawn) == list(range(KEPT))


def test_results_say_which_collections_and_so_does_their_file(run, tmp_path):
    assert {(row.source_collection, row.target_collection) for row in run.results} == {("saes", "narrow")}
    run.results.save(tmp_path / "results.csv")
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert header.endswith("tokens,documents,source_collection,target_collection")
    assert list(Results.load(tmp_path / "results.csv")) == list(run.results)
    assert {row.span for row in run.spans} == {0, 1}


@pytest.mark.usefixtures("run")
def test_matchings_and_what_is_left_over_are_written_under_both_names(folder):
    names = sorted(file.name for file in (folder / "matchings").iterdir())
    assert names == ["L03@saes-L03@narrow.safetensors", "L03@saes-L04@narrow.safetensors"]
    assert sorted(file.name for file in (folder / "significance").iterdir()) == names
    matching = Matching.load(folder / "matchings" / names[0])
    with (folder / "unmatched.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["target_layer"] == "3"]
    assert {row["side"] for row in rows} == {"source"}
    assert {int(row["feature"]) for row in rows} == set((matching.permutation < 0).nonzero().flatten().tolist())


def test_a_layer_that_is_kept_explains_nothing_of_a_change_that_is_none(run):
    rows = run.results.select(metric="explained_change")
    assert {(row.source_layer, row.target_layer) for row in rows} == {(3, 4)}


def test_an_interrupted_run_goes_on_and_finds_the_same(bundled_model, tmp_path, both, data, monkeypatch):
    monkeypatch.setattr(resuming, "_TIMES_WRITING", 0.0)
    few = {"arms": ["matched", "reconstruct_target"], "pairs": [[3, 3]]}

    def interrupt(what, done, _):
        if what == "validating" and done == 2:
            raise KeyboardInterrupt

    whole = validated(bundled_model, tmp_path / "whole", both, data, **few)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        validated(bundled_model, tmp_path / "run", both, data, tmp_path / "cache", watch=interrupt, **few)
    kept = list((tmp_path / "cache" / "validations").iterdir())
    again = validated(bundled_model, tmp_path / "run", both, data, tmp_path / "cache", **few)
    assert kept
    assert list(again.results) == list(whole.results)


def test_each_sides_own_l0s_are_compared(both):
    named = named_l0s(both)
    assert named["3@saes"] == 6
    assert named["3@narrow"] == 1


def scope(stream, collection, **settings):
    return Scope.of(stream, collection, MatcherSettings(), EvaluationSettings(**settings))


def test_two_collections_are_paired_layer_by_layer_and_arms_that_say_nothing_are_left_out(bundled_model, both, caplog):
    with caplog.at_level(logging.INFO):
        found = scope(bundled_model[0], both)
    assert found.pairs == [(3, 3), (4, 4)]
    assert [arm for arm in found.arms if not arm.startswith("quantile")] == SAME_LAYER
    assert "layer_drop, linear_map, linear_map_sae, composed left out, as no layer lies in between" in caplog.text
    assert len(found.ends) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": [[4, 3]]}, r"goes from a layer to the same layer or a later one, got \[4,3\]"),
        ({"pairs": [[3, 9]]}, "target: no SAE for layer 9"),
        ({"pairs": [[9, 3]]}, "sae: no SAE for layer 9"),
        ({"pairs": []}, r"pairs=\[\] chooses no pair"),
        ({"spans": [1, 2]}, "evaluation.spans are distances in one collection"),
        ({"arms": ["layer_drop", "composed"]}, "arms layer_drop, composed say nothing of two collections"),
        ({"pairs": [[3, 3, 3]]}, "a pair is two layers"),
        ({"pairs": "all"}, "pairs must be a list"),
    ],
)
def test_what_cannot_be_validated_is_refused_in_a_line(bundled_model, both, settings, message):
    with pytest.raises(UserError, match=message):
        scope(bundled_model[0], both, **settings)


def test_pairs_can_be_named_in_one_collection_too(bundled_model):
    collection = collection_of(2, 3, 5)
    assert scope(bundled_model[0], collection, pairs=[[3, 5], [2, 5]], arms=["matched"]).pairs == [(2, 5), (3, 5)]
    for pair, message in (([3, 3], "a later one, got"), ([5, 3], "a later one, got"), ([3, 4], "no SAE for layer 4")):
        with pytest.raises(UserError, match=message):
            scope(bundled_model[0], collection, pairs=[pair], arms=["matched"])


def test_a_layer_beyond_the_model_and_another_width_are_refused(bundled_model, tmp_path, both, data, make_sae):
    beyond = SAECollection("gemma_scope", "here", layers={9: {"width": "12", "l0": 1}})
    other = SAECollection("gemma_scope", "there", layers={9: {"width": "12", "l0": 1}})
    with pytest.raises(UserError, match="an SAE is given for layer 9, the model has layers 0 to 7"):
        scope(bundled_model[0], TwoCollections(beyond, other))
    thin = saved({3: make_sae(0)}, tmp_path / "thin")
    with pytest.raises(UserError, match=r"^layers 3 and 3: .*width 128.* width 6 .*layer 3@thin is"):
        validated(bundled_model, tmp_path, TwoCollections(both.sources, thin), data, arms=["matched"])


def test_text_that_activates_nothing_of_one_side_is_said(bundled_model, tmp_path, data, caplog):
    first, _ = seeds()
    sae = first.open(3)
    silent = saved({3: replace(sae, b_enc=sae.b_enc - 1e6)}, tmp_path / "silent")
    run = validated(
        bundled_model, tmp_path / "run", TwoCollections(first, silent), data, arms=["matched", "reconstruct_target"]
    )
    assert "no feature of the SAE of layer 3@silent is ever active on dataset prose" in caplog.text
    assert "layer 3@saes" not in caplog.text
    assert run.results.value(arm="matched", metric="matching_score", dataset="prose") == 0
