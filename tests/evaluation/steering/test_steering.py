"""Steering is what plain hooks give, finds what a network made by hand does, and says what has no number."""

import logging
import math
from dataclasses import replace

import pandas
import pytest
import torch

from sae_match import Matching
from sae_match.errors import UserError
from sae_match.evaluation.passes.blocks import Blocks
from sae_match.evaluation.steering.adding import (
    OWN,
    OWN_SQUARED,
    PRODUCT,
    RISE,
    THEIRS,
    THEIRS_SQUARED,
    TOKENS,
    Adding,
    Strengths,
)
from sae_match.evaluation.steering.paths import ARMS, Paths, arms_in
from sae_match.evaluation.steering.settings import SteeringSettings
from sae_match.evaluation.steering.study import steered
from sae_match.evaluation.steering.typical import typical_activations
from sae_match.model.residual_stream import ResidualStream
from tests.conftest import random_sae
from tests.evaluation.causal.planted import (
    COPIED,
    ENDS,
    FEATURES,
    LAST,
    MAKES,
    OF_MADE,
    OF_TURNED,
    SECOND,
    TURNED,
    PlantedModel,
    dictionary,
    planted_batch,
)
from tests.evaluation.steering.naive import NaiveSteering

LINKS = torch.tensor([COPIED, 1, OF_TURNED, MAKES, OF_MADE, LAST])


def matching(permutation):
    permutation = torch.as_tensor(permutation)
    return Matching(permutation, torch.zeros(len(permutation), dtype=torch.float64))


def planted_paths(first=LINKS, nearest=None):
    straight = matching(torch.arange(FEATURES))
    near = None if nearest is None else {(0, 1): matching(nearest), (1, 2): straight}
    return Paths.of({(0, 1): matching(first), (1, 2): straight}, near)


@pytest.fixture(scope="module")
def planted():
    saes = {0: dictionary(range(FEATURES)), 1: dictionary(SECOND), 2: dictionary(SECOND)}
    return ResidualStream(PlantedModel()), saes


@pytest.fixture(scope="module")
def table(planted):
    stream, saes = planted
    features = [(0, COPIED), (0, TURNED), (0, ENDS), (1, LAST)]
    paths = planted_paths(nearest=LINKS.roll(1))
    batches = [planted_batch(0), planted_batch(1)]
    return steered(stream, saes.__getitem__, paths, features, batches, strengths=[1.0, -0.5]).to_pandas()


def value(table, feature, metric, arm="matched", layer=2, where="first", strength=1.0):
    rows = table[
        (table.source_feature == feature)
        & (table.target_layer == layer)
        & (table["where"] == where)
        & (table.strength == strength)
        & (table.arm == arm)
        & (table.metric == metric)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("feature", [COPIED, TURNED])
def test_what_is_copied_rises_by_what_was_added_and_acts_alike(table, feature, layer):
    # What the layer copies or turns has the same values behind it, so the same typical activation.
    assert value(table, feature, "carried_steering", layer=layer).value == pytest.approx(1, abs=1e-5)
    assert value(table, feature, "steered_top1", layer=layer).value == 1
    assert value(table, feature, "steering_agreement", layer=layer).value == pytest.approx(1, abs=1e-5)
    effect, alone = (value(table, feature, name, layer=layer).value for name in ("steering_effect", "effect_alone"))
    assert effect == pytest.approx(alone, rel=1e-4)
    assert effect > 0
    # Other features do not move.
    for arm in ("nearest", "random_live", "broken"):
        assert value(table, feature, "carried_steering", arm, layer).value == 0
        assert value(table, feature, "carried_steering_lead", arm, layer).value == pytest.approx(1, abs=1e-5)


def test_directions_of_a_path_are_added_at_each_layer(table):
    assert value(table, COPIED, "carried_steering", layer=1, where="each").value == pytest.approx(1, abs=1e-5)
    # Both layers before have added to it.
    assert value(table, COPIED, "carried_steering", where="each").value == pytest.approx(2, abs=1e-5)
    assert (table[table["where"] == "each"].metric != "steering_agreement").all()


def test_a_feature_that_changes_nothing_has_no_effect_and_no_agreement(table):
    assert value(table, ENDS, "steering_effect").value == 0
    assert value(table, ENDS, "carried_steering").value == 0
    row = value(table, ENDS, "steering_agreement")
    assert pandas.isna(row.value)
    assert row.said == "changes nothing"
    mean = table[(table.source_feature.isna()) & (table.metric == "steering_agreement") & (table.arm == "matched")]
    assert mean.value.notna().all()
    assert (mean.said == "1 of 3 paths have no number").all()
    assert (mean.value > 0.99).all()


def test_paths_of_other_layers_begin_there(table):
    assert set(table[table.source_layer == 1].target_layer) == {2}
    assert value(table, LAST, "carried_steering").target_feature == LAST


def test_what_is_taken_away_falls(table):
    assert value(table, COPIED, "carried_steering", strength=-0.5).value > 0.3
    assert value(table, COPIED, "steered_top1", strength=-0.5).value == 1


def refused(planted, message, features=((0, COPIED),), paths=None, **how):
    stream, saes = planted
    with pytest.raises(UserError, match=message):
        steered(stream, saes.__getitem__, paths or planted_paths(), list(features), [planted_batch()], **how)


def test_what_has_no_path_is_refused(planted):
    refused(planted, "feature 3 of layer 2: no path begins in the last layer, 2", [(2, 3)])
    refused(planted, "there is no feature 6 of layer 0, which has 6", [(0, 6)])
    refused(planted, "no matching starts from layer 5", [(5, 0)])
    cut = planted_paths(LINKS.index_fill(0, torch.tensor([COPIED]), -1))
    refused(planted, "feature 0 of layer 0 has no partner in layer 1: a path has one step at least", paths=cut)
    refused(
        planted,
        "is of 3 features and leads to feature 2; the SAEs have 6 and 6",
        [(0, 0)],
        Paths.of({(0, 1): matching([0, 1, 2])}),
    )
    refused(planted, "a strength is a multiple", strengths=[0.0])
    refused(planted, "directions are added at first or each", where=["last"])
    with pytest.raises(UserError, match="give a matching"):
        Paths.of({})
    with pytest.raises(UserError, match="follow one another"):
        Paths.of({(0, 1): matching(LINKS), (2, 3): matching(LINKS)})


def test_a_feature_that_is_active_nowhere_is_left_out_and_that_is_said(planted, caplog):
    stream, saes = planted
    deaf = {**saes, 0: replace(saes[0], threshold=saes[0].threshold.index_fill(0, torch.tensor([LAST]), 99.0))}
    with caplog.at_level(logging.WARNING):
        table = steered(
            stream, deaf.__getitem__, planted_paths(), [(0, LAST), (0, COPIED)], [planted_batch()], where=["first"]
        ).to_pandas()
    assert "feature 5 of layer 0 is active nowhere in the text: it is not steered" in caplog.text
    assert set(table.source_feature) == {COPIED}
    refused((stream, deaf), "no feature to steer is active anywhere in the text", [(0, LAST)])


def test_arms_are_drawn_among_what_is_active_and_a_path_ends_where_it_does():
    first = matching([3, 1, -1, 2])
    paths = Paths.of({(0, 1): first, (1, 2): matching([0, 1, 2, -1])})
    live = [torch.tensor([[True, True, False, False], [False, False, False, True]]), torch.ones(2, 4, dtype=torch.bool)]
    matched, nearest, drawn, broken = arms_in(paths, (0, 0), live, 0, "words", [0, 1])
    assert matched.tolist() == nearest.tolist() == [[3, -1], [3, -1]]
    assert int(drawn[0, 0]) in (0, 1)
    assert drawn[1, 0] == -1  # Only the path's own is active there.
    assert broken[0].tolist() in ([0, 0], [1, 1])
    assert broken[1].tolist() == [-1, -1]


def test_typical_activations_are_medians_where_features_are_active(planted):
    stream, saes = planted
    batches = [planted_batch(0), planted_batch(1)]
    found = typical_activations(stream, saes.__getitem__, (0, 1), batches)
    for layer in (0, 1):
        every = []
        for batch in batches:
            x = stream.capture(batch.input_ids, batch.attention_mask).residuals[layer]
            every.append(saes[layer].encode(x[batch.scored]))
        f = torch.cat(every)
        for feature in range(FEATURES):
            values = f[:, feature][f[:, feature] > 0]
            expected = values.double().quantile(0.5) if len(values) else torch.nan
            assert float(found[layer][feature]) == pytest.approx(float(expected), nan_ok=True)


@pytest.mark.parametrize("blocks", [None, Blocks(1, 3)])
def test_sums_are_what_plain_hooks_and_a_forward_each_give(tiny_stream, blocks):
    saes = {layer: random_sae(layer, d_in=16, d_sae=8) for layer in range(3)}
    generator = torch.Generator().manual_seed(3)
    batch = planted_batch(0)._replace(input_ids=torch.randint(2, 50, (3, 12), generator=generator))
    paths = Paths.of(
        {(0, 1): matching(torch.arange(8).roll(1)), (1, 2): matching(torch.arange(8).roll(2))},
        {(0, 1): matching(torch.arange(8)), (1, 2): matching(torch.arange(8).roll(2))},
    )
    typical = typical_activations(tiny_stream, saes.__getitem__, range(3), [batch])
    start = (0, int(typical[0].isfinite().nonzero()[0]))
    strengths = [1.0, -2.0]
    adding = Adding(
        tiny_stream, saes.__getitem__, paths, Strengths(typical, strengths, ["first", "each"]), batch, blocks
    )
    found = adding.of(start)
    live = [adding._live[layer] for layer in (1, 2)]
    arms = arms_in(paths, start, live, 0, batch.dataset, batch.documents)
    for row in range(3):
        plain = NaiveSteering(tiny_stream, saes, batch, row)
        for s, strength in enumerate(strengths):

            def direction(layer, feature, strength=strength):
                size = float(typical[layer][feature]) if feature >= 0 else 0.0
                size = 0.0 if math.isnan(size) else strength * size
                return size * saes[layer].W_dec[max(feature, 0)]

            own, after = plain.run({0: direction(*start)})
            assert found[0, s, 0, row, 0, OWN] == pytest.approx(plain.nats(own), abs=1e-5)
            for arm in range(len(ARMS)):
                path = arms[arm, row].tolist()
                each = {0: direction(*start)} | {1 + step: direction(1 + step, one) for step, one in enumerate(path)}
                steered_along, along = plain.run(each)
                assert found[1, s, arm, row, 0, OWN] == pytest.approx(plain.nats(steered_along), abs=1e-5)
                for step, feature in enumerate(path):
                    sums, layer = found[:, s, arm, row, step], 1 + step
                    assert sums[0, TOKENS] == int(plain.scored.sum())
                    unit = float(typical[layer][feature]) if feature >= 0 else float("nan")
                    if math.isnan(unit):
                        assert (sums[:, [RISE, THEIRS, PRODUCT]] == 0).all()
                        continue
                    for place, f in enumerate((after, along)):
                        rise = float((f[layer] - plain.before[layer])[:, feature].sum()) / unit
                        assert sums[place, RISE] == pytest.approx(rise, abs=1e-4)
                    alone, _ = plain.run({layer: direction(layer, feature)})
                    assert sums[0, THEIRS] == pytest.approx(plain.nats(alone), abs=1e-5)
                    assert sums[0, OWN_SQUARED] == pytest.approx(plain.moments(own, own), abs=1e-5)
                    assert sums[0, THEIRS_SQUARED] == pytest.approx(plain.moments(alone, alone), abs=1e-5)
                    assert sums[0, PRODUCT] == pytest.approx(plain.moments(own, alone), abs=1e-5)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"features": [[3]]}, r"a feature is a layer and a number, such as \[3,17\]; got \[3\] in steering.features"),
        ({"features": 3}, "steering.features must be a list"),
        ({"strengths": []}, "a strength is a multiple"),
        ({"strengths": [float("inf")]}, "a strength is a multiple"),
        ({"where": []}, "directions are added at first or each"),
        ({"documents": 0}, "steering.documents must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(told, message):
    with pytest.raises(UserError, match=message):
        SteeringSettings(**told)
