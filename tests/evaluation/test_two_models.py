"""Validations between two language models, against the naive computation and in what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import linear_sum_assignment

from sae_match import bundled, match, relations, significance
from sae_match.errors import UserError
from sae_match.evaluation.arm_names import ARMS, COMPOSED, MATCHING_ARMS
from sae_match.evaluation.drift.findings import drifts_of
from sae_match.evaluation.fitting import LeastSquares
from sae_match.evaluation.plan import in_memory
from sae_match.evaluation.relations.collecting import RelativesCollector
from sae_match.evaluation.settings import EvaluationSettings, tells_drift
from sae_match.evaluation.statistics.layout import Layout
from sae_match.evaluation.two_models.arms import arms_between
from sae_match.evaluation.two_models.mapping import MapBothWays
from sae_match.model.loading import load_model
from sae_match.model.settings import ModelSettings
from sae_match.model.two.loading import load_models
from sae_match.model.two.streams import TwoStreams
from sae_match.model.two.tokens import difference
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.saes.two import TwoCollections, ends_of
from tests.conftest import random_sae
from tests.evaluation.naive import Naive, affine_map, costs, stand_in
from tests.evaluation.validating import SOURCES, collection_of, documents, validated

PAIR, ACROSS = (3, 3), ("other model's 3", 3)
EVERY_ARM = [arm for arm in ARMS if arm != COMPOSED]


@pytest.fixture(scope="module")
def models(bundled_model):
    return bundled_model[0], load_model(ModelSettings(bundled.path("model_code")))[0]


@pytest.fixture(scope="module")
def both():
    folder = bundled.path("saes_code_tuned")
    tuned = SAECollection("gemma_scope", folder, layers={3: gemma_scope.only_one(folder, 3, 1024)})
    return TwoCollections(collection_of(3), tuned, ("model", "model_code"))


@pytest.fixture(scope="module")
def run(models, bundled_model, both, data, cache, fitting, tmp_path_factory):
    two = (TwoStreams(*models), bundled_model[1])
    told = {"arms": EVERY_ARM, "rotations": 1, "prefers": ["code", "prose"]}
    return validated(two, tmp_path_factory.mktemp("run"), both, data, cache, fitting, checked=True, **told)


def side_by_side(models, both, text):
    """The target's model, which knows the residuals of the source's as those of a layer of another name."""
    sides = (both.sources, both.targets)
    one, other = (Naive(model, {3: side.open(3)}, text) for model, side in zip(models, sides, strict=True))
    other.residuals[ACROSS[0]], other.saes[ACROSS[0]] = one.residuals[3], one.saes[3]
    return one, other


@pytest.fixture(scope="module")
def naive(models, both, data):
    return {dataset: side_by_side(models, both, documents(data, dataset)) for dataset in SOURCES}


@pytest.fixture(scope="module")
def fitted(models, both, fitting):
    return side_by_side(models, both, documents(fitting))


def turned_about_means(fitted):
    x, y = (one.x(3) for one in fitted)
    weight = orthogonal_procrustes(x - x.mean(0), y - y.mean(0))[0]
    return weight, y.mean(0) - x.mean(0) @ weight


@pytest.mark.parametrize("dataset", SOURCES)
@pytest.mark.parametrize("arm", EVERY_ARM)
def test_every_metric_of_every_arm_equals_the_naive_computation(run, naive, fitted, arm, dataset):
    found = {row.metric: row.value for row in run.results.select(dataset=dataset, arm=arm)}
    one, other = naive[dataset]
    theirs = {name: matching.permutation.numpy() for name, matching in run.matchings[PAIR].matchings.items()}
    partner = theirs.get(arm, theirs["matched"])
    chosen = run.matchings[PAIR].judged.significance.q.numpy() <= 0.05
    mean = fitted[1].x(3).mean(0)
    source, target = one.saes[3], other.saes[3]
    if arm == "procrustes":
        weight, bias = turned_about_means(fitted)
        expected = other.of_arm(ACROSS, lambda x, _: x @ weight + bias)
    else:
        linear = affine_map(fitted[0].x(3), fitted[1].x(3)) if arm.startswith("linear") else None
        expected = other.of_arm(ACROSS, stand_in(arm, source, target, partner, linear, chosen, mean))
    of_mean = other.of_arm(ACROSS, stand_in("mean", source, target, mean=mean))["delta_loss"]
    expected["loss_recovered"] = 1 - expected["delta_loss"] / of_mean
    if arm in MATCHING_ARMS:
        expected |= one.of_partners(PAIR, partner, other)
    if arm.startswith("reconstruct"):
        expected |= one.of_layer(3) if arm == "reconstruct_source" else other.of_layer(3)
    assert found == pytest.approx(expected, rel=1e-5, abs=5e-6)


def test_a_mapped_matching_is_the_cheapest_between_turned_dictionaries(run, naive, fitted):
    one, other = next(iter(naive.values()))
    weight, bias = turned_about_means(fitted)
    source = one.saes[3]
    turned = type(source)(
        weight.T @ source.W_enc,
        source.b_enc - bias @ weight.T @ source.W_enc,
        source.W_dec @ weight,
        source.b_dec,
        source.threshold,
    )
    x = one.x(3)
    assert turned.encode(x @ weight + bias) == pytest.approx(source.encode(x), abs=1e-9)
    cost = costs(turned.folded, other.saes[3].folded)
    partner = run.matchings[PAIR].matchings["matched_mapped"].permutation.numpy()
    everyone = np.arange(len(cost))
    assert cost[everyone, partner].sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum(), rel=1e-5)


@pytest.mark.parametrize("dataset", SOURCES)
def test_rates_and_their_ratio_are_those_of_plain_counts(run, naive, dataset):
    found = drifts_of(run)[PAIR]
    one, other = naive[dataset]
    before, after = one.active(3), other.active(3)
    rates = found.rates[dataset]
    for at in range(0, len(found.source), 37):
        first, second = before[:, found.source[at]].sum(), after[:, found.target[at]].sum()
        assert float(rates.source[at]) == pytest.approx(first / len(before))
        assert float(rates.target[at]) == pytest.approx(second / len(after))
        assert float(rates.ratio[at]) == pytest.approx(np.log((second + 0.5) / (first + 0.5)))
        assert rates.low[at] <= rates.high[at]
    moved = (found.source != found.target).double().mean()
    assert {row.metric: row.value for row in found.results}["elsewhere_share"] == pytest.approx(float(moved))


def test_maps_between_unlike_widths_go_each_way_by_least_squares(make_sae):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator)
    y = x @ torch.randn(6, 9, generator=generator) + 1
    there, back = LeastSquares(x, y), LeastSquares(y, x)
    there.add(x, y)
    back.add(y, x)
    sae = make_sae(0)
    turned = MapBothWays.of(there, back).turned(sae)
    assert turned.d_in == 9
    # What is exactly linear is undone exactly.
    assert torch.allclose(turned.encode(y), sae.encode(x), atol=1e-3)


def test_arms_that_need_one_width_are_left_out_of_two():
    asked = ["reconstruct_target", "reconstruct_source", "layer_drop", "linear_map", "procrustes", "matched_mapped"]
    assert arms_between(asked, (64, 96)) == ["reconstruct_target", "linear_map", "matched_mapped"]
    assert arms_between(asked, (64, 64)) == asked
    assert "procrustes" not in arms_between(asked, None)
    for arms, message in (
        (["matched"], "residuals are 64 and 96 wide, and features of unlike width cannot be matched by their weights"),
        (["layer_drop"], "arms layer_drop put residuals of width 64 where 96 are expected"),
    ):
        with pytest.raises(UserError, match=message):
            arms_between(arms, (64, 96))
    with pytest.raises(UserError, match="arms procrustes turn one language model into another"):
        arms_between(["procrustes"], None)


def test_the_same_model_twice_is_refused():
    model = ModelSettings(bundled.path("model"))
    with pytest.raises(UserError, match=r"^model and target_model are the same model"):
        load_models(model, model)


def test_tokenizers_are_compared_by_what_they_do():
    told = json.loads((Path(bundled.path("model")) / "tokenizer.json").read_text(encoding="utf-8"))
    assert difference(told, {**told, "padding": {"length": 8}}) is None
    token = next(iter(told["model"]["vocab"]))
    fewer = {name: number for name, number in told["model"]["vocab"].items() if name != token}
    other = {**told, "added_tokens": [], "model": {**told["model"], "vocab": fewer}}
    assert "vocabularies of" in difference(told, other)
    assert difference(told, {**told, "normalizer": {"type": "Lowercase"}}) == "their normalizer differs"
    # A special token is never found in text; of another one the id counts.
    added = {"content": "<|new|>", "id": 4096, "special": True, "normalized": False}
    more = {**told, "added_tokens": [*told["added_tokens"], added]}
    assert difference(told, more) is None
    plain = {**told, "added_tokens": [*told["added_tokens"], {**added, "special": False}]}
    assert "'<|new|>' is absent in the one and id 4096" in difference(told, plain)
    merged = {**told, "model": {**told["model"], "merges": told["model"]["merges"][1:]}}
    assert difference(told, merged) == "their merges differ"


def test_what_drifted_is_not_asked_where_it_cannot_be_told():
    for settings, apart, message in (
        ({"drift": True}, False, "evaluation.drift is told between two collections"),
        ({"drift": True, "arms": ["mean"]}, True, "what drifted is told of matched pairs: add matched"),
        ({"prefers": ["code", "prose"]}, True, "evaluation.prefers asks what drift goes with"),
    ):
        with pytest.raises(UserError, match=message):
            tells_drift(EvaluationSettings(**settings), apart, two_models=False)
    assert tells_drift(EvaluationSettings(), True, two_models=True)
    assert not tells_drift(EvaluationSettings(), True, two_models=False)


def test_nothing_is_stitched_between_two_models():
    features = dict.fromkeys(ends_of(PAIR, apart=True), 8)
    sae = random_sae(0, 16, 8)
    matching = match(sae, sae)
    related = relations(sae, sae, matching, significance(sae, sae, matching, rotations=1))
    for d_source, expected in ((None, [PAIR]), (16, [])):
        layout = Layout([PAIR], ["matched"], ["prose"], 16, features, {}, (), True, d_source)
        assert RelativesCollector({PAIR: related}, layout, 0).stitched == expected


def test_residuals_of_two_models_are_held_by_end():
    layout = Layout([(0, 0), (1, 1)], ["matched"], ["prose"], 16, {}, {}, (), True, 16)
    assert in_memory(layout.pairs, 2, layout.held) == [[(0, 0)], [(1, 1)]]
    assert in_memory(layout.pairs, 4, layout.held) == [[(0, 0), (1, 1)]]
