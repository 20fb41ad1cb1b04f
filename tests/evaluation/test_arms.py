import dataclasses

import pytest
import torch

from sae_match import fold_threshold, match
from sae_match.errors import UserError
from sae_match.evaluation.arm_names import (
    ARMS,
    CLEAN,
    FITTED_ARMS,
    JUDGED_ARMS,
    MATCHING_ARMS,
    checked_arms,
    order_of,
    quantile_of,
)
from sae_match.evaluation.arms import Stage, stand_in
from sae_match.evaluation.fitting import LinearMap
from sae_match.evaluation.transport import ActiveValues, Transport, cheapest
from sae_match.matching import baselines

FOLDED = [arm for arm in MATCHING_ARMS if arm != "matched_unfolded"]


def by_definition(source, target, permutation, x):
    """Eq. 5 word by word: fold both, encode, send feature i to permutation[i], decode."""
    source, target = fold_threshold(source), fold_threshold(target)
    f = source.encode(x)
    sent = torch.zeros(len(x), target.d_sae, dtype=x.dtype)
    for i, j in enumerate(permutation.tolist()):
        if j >= 0:
            sent[:, j] += f[:, i]
    return target.decode(sent)


@pytest.fixture
def x():
    """Residuals of the source and of the target layer."""
    return torch.randn(2, 50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 2


@pytest.fixture
def matchings(make_sae):
    source, target = make_sae(0, dtype=torch.float64), make_sae(1, dtype=torch.float64)
    matched = match(source, target)
    return {
        "matched": matched,
        "matched_unfolded": match(source, target, fold="none"),
        "matched_mapped": baselines.random(source, seed=2),
        "composed": baselines.random(source, seed=3),
        "coactivation": baselines.random(source, seed=4),
        "nearest": baselines.nearest(source, target),
        "identity": baselines.identity(source),
        "random": baselines.random(source, seed=1),
    }


@pytest.fixture
def stage(make_sae, matchings, x):
    source, target = make_sae(0, dtype=torch.float64), make_sae(1, dtype=torch.float64)
    folds = {arm: "none" if arm == "matched_unfolded" else "threshold" for arm in matchings}
    transports = {arm: Transport.between(source, target, matchings[arm], folds[arm]) for arm in matchings}
    cheap = {f"quantile_{q}": cheapest(matchings["matched"], q) for q in (0.0, 0.3, 0.75, 1.0)}
    linear = LinearMap(x[0, :6] / 2, x[0, 6])
    mean = x[1].mean(0)
    of_both = ActiveValues.of(source.encode(x[0])), ActiveValues.of(target.encode(x[1]))
    significant, rotation = torch.arange(10) % 3 == 0, LinearMap(x[0, 8:14] / 3, x[0, 7])
    return Stage(source, target, x[0], *of_both, transports, linear, cheap, mean, significant, rotation)


@pytest.mark.parametrize("arm", FOLDED)
def test_a_matching_arm_is_encode_permute_decode_of_folded_saes(stage, matchings, x, arm):
    expected = by_definition(stage.source, stage.target, matchings[arm].permutation, x[0])
    assert torch.allclose(stand_in(arm, stage), expected, rtol=1e-10, atol=1e-10)


def test_the_unfolded_arm_carries_values_as_they_are(stage, matchings, x):
    f = stage.source.encode(x[0])
    sent = torch.zeros_like(f)
    sent[:, matchings["matched_unfolded"].permutation] = f
    assert torch.allclose(stand_in("matched_unfolded", stage), stage.target.decode(sent), rtol=1e-12, atol=1e-12)


def mapped(stage, x):
    return torch.stack([row @ stage.linear.weight + stage.linear.bias for row in x[0]])


def turned(stage, x):
    return torch.stack([row @ stage.rotation.weight + stage.rotation.bias for row in x[0]])


def swapped(stage, x, chosen=range(10)):
    """Active features' rows are taken out, and their partners' put in, scaled by the ratio of thresholds."""
    partner = match(stage.source, stage.target).permutation.tolist()
    source, target = stage.source, stage.target
    out = x[0].clone()
    for token, f in enumerate(source.encode(x[0])):
        for i, j in ((i, partner[i]) for i in chosen):
            ratio = target.threshold[j] / source.threshold[i]
            out[token] += f[i] * (ratio * target.W_dec[j] - source.W_dec[i])
    return out


def matched_significant(stage, x):
    """Significant features, every third, as the target's, the others as the source's, with the bias of the target."""
    partner = match(stage.source, stage.target).permutation.tolist()
    out = stage.target.b_dec.repeat(50, 1)
    for token, f in enumerate(stage.source.encode(x[0])):
        for i, j in enumerate(partner):
            ratio = stage.target.threshold[j] / stage.source.threshold[i]
            out[token] += f[i] * (ratio * stage.target.W_dec[j] if i % 3 == 0 else stage.source.W_dec[i])
    return out


# Every arm that sends nothing through a matching, by its definition. A new arm is written down here as well.
DEFINITIONS = {
    "layer_drop": lambda _, x: x[0],
    "reconstruct_source": lambda stage, x: stage.source(x[0]),
    "reconstruct_target": lambda stage, x: stage.target(x[1]),
    "mean": lambda _, x: torch.stack([sum(x[1]) / len(x[1])] * len(x[0])),
    "linear_map": mapped,
    "procrustes": turned,
    "swapped": swapped,
    "swapped_significant": lambda stage, x: swapped(stage, x, range(0, 10, 3)),
    "matched_significant": matched_significant,
    "linear_map_sae": lambda stage, x: stage.target(mapped(stage, x)),
}


@pytest.mark.parametrize("arm", DEFINITIONS)
def test_an_arm_without_a_matching_is_what_its_definition_says(stage, x, arm):
    assert torch.allclose(stand_in(arm, stage), DEFINITIONS[arm](stage, x))


def test_every_arm_has_a_definition():
    assert {*DEFINITIONS, *MATCHING_ARMS} == set(ARMS)


def test_every_arm_with_a_name_stands_in(stage, x):
    for arm in ARMS:
        assert stand_in(arm, stage).shape == x[0].shape
    assert set(MATCHING_ARMS) | set(FITTED_ARMS) < set(ARMS)


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.75, 1.0])
def test_a_quantile_arm_decodes_cheap_pairs_as_target_features_and_the_others_as_source_features(
    stage, matchings, x, quantile
):
    matched = matchings["matched"]
    ranked = matched.pair_cost.argsort().tolist()
    cheap = set(ranked[: round(10 * quantile)])
    expected, f = stage.target.b_dec.repeat(50, 1), stage.source.encode(x[0])
    for token in range(50):
        for i, j in enumerate(matched.permutation.tolist()):
            value = f[token, i]
            if i in cheap:
                rescaled = value * stage.target.threshold[j] / stage.source.threshold[i]
                expected[token] += rescaled * stage.target.W_dec[j]
            else:
                expected[token] += value * stage.source.W_dec[i]
    assert torch.allclose(stand_in(f"quantile_{quantile}", stage), expected, rtol=1e-10, atol=1e-10)


def test_quantile_one_is_matched_and_quantile_zero_is_the_source_with_the_targets_bias(stage):
    assert torch.allclose(stand_in("quantile_1.0", stage), stand_in("matched", stage))
    without = stand_in("reconstruct_source", stage) - stage.source.b_dec + stage.target.b_dec
    assert torch.allclose(stand_in("quantile_0.0", stage), without)


def test_an_sae_matched_to_itself_reconstructs(make_sae, x):
    sae = make_sae(0, dtype=torch.float64)
    transports = {"matched": Transport.between(sae, sae, match(sae, sae), "threshold")}
    f = ActiveValues.of(sae.encode(x[0]))
    assert torch.allclose(stand_in("matched", Stage(sae, sae, x[0], f, f, transports)), sae(x[0]))


@pytest.mark.parametrize("all_or_none", [True, False])
def test_where_all_pairs_or_none_are_significant_the_judged_arms_are_other_ones(stage, x, all_or_none):
    at = dataclasses.replace(stage, significant=torch.full((10,), all_or_none))
    if all_or_none:
        expected = {
            "swapped_significant": stand_in("swapped", stage),
            "matched_significant": stand_in("matched", stage),
        }
    else:
        expected = {"swapped_significant": x[0], "matched_significant": stand_in("quantile_0.0", stage)}
    for arm, value in expected.items():
        assert torch.allclose(stand_in(arm, at), value, rtol=1e-12, atol=1e-12)


def test_a_feature_without_a_partner_is_not_exchanged(make_sae, x):
    source, target = make_sae(0, dtype=torch.float64), make_sae(1, dtype=torch.float64)
    matched = match(source, target, rejection_cost=0.0)
    assert (matched.permutation == -1).all()
    transports = {"matched": Transport.between(source, target, matched, "threshold")}
    f = ActiveValues.of(source.encode(x[0]))
    at = Stage(source, target, x[0], f, f, transports, significant=torch.ones(10, dtype=torch.bool))
    assert torch.allclose(stand_in("swapped_significant", at), x[0])


@pytest.mark.parametrize("arm", JUDGED_ARMS)
def test_no_pair_is_exchanged_before_pairs_are_judged(stage, arm):
    with pytest.raises(ValueError, match="no pair was judged"):
        stand_in(arm, dataclasses.replace(stage, significant=None))


@pytest.mark.parametrize("arm", ["linear_map", "linear_map_sae"])
def test_no_map_stands_in_before_it_is_fitted(make_sae, x, arm):
    sae = make_sae(0, dtype=torch.float64)
    f = ActiveValues.of(sae.encode(x[0]))
    with pytest.raises(ValueError, match="no linear map was fitted"):
        stand_in(arm, Stage(sae, sae, x[0], f, f))


def test_no_mean_stands_in_before_it_is_fitted(make_sae, x):
    sae = make_sae(0, dtype=torch.float64)
    f = ActiveValues.of(sae.encode(x[0]))
    with pytest.raises(ValueError, match="no mean was fitted"):
        stand_in("mean", Stage(sae, sae, x[0], f, f))


def test_arms_come_in_table_order_once_each():
    assert checked_arms(["random", "matched", "random"]) == ["matched", "random"]
    assert checked_arms(list(reversed(ARMS))) == list(ARMS)
    asked = ["identity", "quantile_0.7", "nearest", "quantile_0.25", "quantile_1", "quantile_0", "random"]
    expected = ["nearest", "quantile_0", "quantile_0.25", "quantile_0.7", "quantile_1", "identity", "random"]
    assert checked_arms(asked) == expected
    assert sorted(["matched", CLEAN, "reconstruct_target"], key=order_of)[0] == CLEAN


def test_a_quantile_is_read_from_the_name():
    assert quantile_of("quantile_0.5") == 0.5
    assert quantile_of("quantile_.25") == 0.25
    assert quantile_of("quantile_1") == 1
    assert quantile_of("matched") is None


@pytest.mark.parametrize("name", ["quantile_1.5", "quantile_-0.1", "quantile_7", "quantile_-x"])
def test_a_quantile_that_is_none_is_refused(name):
    with pytest.raises(UserError, match=rf"arm '{name}': the quantile must lie between 0 and 1, as in quantile_0\.5"):
        checked_arms(["matched", name])


@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("mached", "matched"),
        ("matched_unfold", "matched_unfolded"),
        ("layerdrop", "layer_drop"),
        ("coactivations", "coactivation"),
        ("quantile_x", "quantile_0.5"),
        ("quantile", "quantile_0.5"),
    ],
)
def test_a_misspelt_arm_gets_the_nearest(misspelt, nearest):
    with pytest.raises(UserError, match=rf"unknown arm '{misspelt}'; did you mean {nearest}\? There are .*quantile_Q"):
        checked_arms(["matched", misspelt])


def test_no_arm_and_the_clean_one_are_refused():
    with pytest.raises(UserError, match=r"unknown arm 'clean'; there are .* \(clean is always there\)"):
        checked_arms([CLEAN])
    with pytest.raises(UserError, match=r"evaluation\.arms is empty; choose among reconstruct_target"):
        checked_arms([])


def test_one_quantile_in_several_spellings_is_one_arm():
    assert checked_arms(["quantile_0.50", "quantile_.5", "quantile_0.5", "quantile_1"]) == [
        "quantile_0.5",
        "quantile_1",
    ]
