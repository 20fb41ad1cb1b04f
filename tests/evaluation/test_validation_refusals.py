"""What a validation refuses, and what it stands: padding alone, features that never fire."""

import logging
import math
from dataclasses import replace

import pytest
import torch

from sae_match.errors import UserError
from sae_match.evaluation import measuring
from sae_match.evaluation.arms import stand_in
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.text.batches import TokenBatch
from tests.evaluation.validating import TEXT, collection_of, fitting_text, saved, text_of, validated


@pytest.fixture(scope="module")
def data(bundled_model):
    return text_of(bundled_model[1], replace(TEXT, documents=2))


@pytest.fixture
def small(make_sae, tmp_path):
    """Small SAEs of layers 2, 3 and 4 of the bundled model."""
    return saved({layer: make_sae(layer, d_in=128, d_sae=12) for layer in (2, 3, 4)}, tmp_path / "saes")


@pytest.mark.parametrize(
    ("layers", "spans", "message"),
    [
        ([2], [1], "no two adjacent layers with an SAE in"),
        ([2, 4], [1], "no two adjacent layers with an SAE in"),
        ([2, 3, 4], [3, 5], "no two layers at a distance of 3, 5 with an SAE in"),
        ([2, 3], [], "evaluation.spans must be distances of at least 1, got []"),
        ([2, 3], [1, 0], r"evaluation.spans must be distances of at least 1, got \[1, 0\]"),
    ],
)
def test_layers_and_spans_without_a_pair_are_refused(bundled_model, data, tmp_path, layers, spans, message):
    with pytest.raises(UserError, match=message.replace("[]", r"\[\]")):
        validated(bundled_model, tmp_path, collection_of(*layers), data, arms=["matched"], spans=spans)


def test_a_layer_that_the_model_does_not_have_is_refused(bundled_model, data, tmp_path, small):
    wrong = replace(small, layers={7: small.layers[2], 8: small.layers[3]})
    with pytest.raises(UserError, match="an SAE is given for layer 8, the model has layers 0 to 7"):
        validated(bundled_model, tmp_path, wrong, data, arms=["matched"])


def test_a_chain_over_a_layer_without_sae_is_refused(bundled_model, data, tmp_path, small):
    gap = replace(small, layers={layer: small.layers[layer] for layer in (2, 4)})
    with pytest.raises(UserError, match="layer 3 has no SAE in"):
        validated(bundled_model, tmp_path, gap, data, arms=["composed"], spans=[2])


def test_saes_of_another_model_are_refused(bundled_model, data, tmp_path, make_sae):
    wrong = saved({layer: make_sae(layer, d_in=64) for layer in (0, 1)}, tmp_path / "saes")
    with pytest.raises(UserError, match="SAE of layer 0 reads width 64, the model's residual has 128"):
        validated(bundled_model, tmp_path, wrong, data, arms=["matched"])


@pytest.mark.parametrize("arm", ["matched", "layer_drop"])
def test_saes_of_different_widths_are_refused_with_their_layers(bundled_model, data, tmp_path, make_sae, arm):
    wrong = saved({layer: make_sae(layer, d_in=128, d_sae=10 + 2 * layer) for layer in (0, 1)}, tmp_path / "saes")
    with pytest.raises(UserError, match="layers 0 and 1: the source has 10 features and the target 12"):
        validated(bundled_model, tmp_path, wrong, data, arms=[arm])


def test_fitted_arms_without_fitting_text_are_refused(bundled_model, data, tmp_path, small):
    with pytest.raises(UserError, match="arms linear_map, coactivation are fitted on text, and no fitting text"):
        validated(bundled_model, tmp_path, small, data, arms=["coactivation", "linear_map", "matched"])


def test_text_that_is_fitted_on_and_evaluated_is_refused(bundled_model, data, tmp_path, small):
    with pytest.raises(UserError, match="documents are in the fitting text and in the evaluated text"):
        validated(bundled_model, tmp_path, small, data, fitting=data, arms=["coactivation"])


def test_too_little_fitting_text_is_refused(bundled_model, data, tmp_path, small):
    fitting = fitting_text(bundled_model[1], data)
    batch = fitting.batches[0]
    alone = {name: getattr(batch, name)[:1] for name in ("input_ids", "attention_mask", "scored", "documents")}
    fitting.batches = [batch._replace(**alone)]
    with pytest.raises(UserError, match=r"a linear map of 128 dimensions needs more than .* raise evaluation.fitting"):
        validated(bundled_model, tmp_path, small, data, fitting=fitting, arms=["linear_map"])


@pytest.mark.parametrize("place", [0, 4])
def test_a_batch_of_padding_changes_no_number(bundled_model, data, tmp_path, small, place):
    padded, few = text_of(bundled_model[1], data.settings), ["reconstruct_target", "layer_drop", "matched"]
    nothing = torch.zeros(1, 5, dtype=torch.bool)
    dataset = padded.batches[place and -1].dataset
    padded.batches.insert(place, TokenBatch(dataset, nothing.long(), nothing, nothing, (9,)))
    plain = validated(bundled_model, tmp_path / "plain", small, data, arms=few).results
    found = validated(bundled_model, tmp_path / "padded", small, padded, arms=few).results
    for one, other in zip(plain, found, strict=True):
        assert (one.metric, one.arm, one.tokens) == (other.metric, other.arm, other.tokens)
        assert other.value == pytest.approx(one.value, rel=1e-6, abs=1e-6, nan_ok=True)


def test_features_that_never_fire_have_no_score_and_are_told(bundled_model, data, tmp_path, small, make_sae, caplog):
    silent = make_sae(2, d_in=128, d_sae=12)
    silent = replace(silent, threshold=torch.full_like(silent.threshold, 1e6))
    saes = SAECollection(small.format, small.source, layers={2: {"width": "12", "l0": 2}, 3: small.layers[3]})
    gemma_scope.save(silent, tmp_path / "saes", layer=2, width="12", l0=2)
    with caplog.at_level(logging.WARNING):
        results = validated(bundled_model, tmp_path, saes, data, arms=["reconstruct_source", "matched"]).results
    for dataset in TEXT.datasets:
        assert f"no feature of the SAE of layer 2 is ever active on dataset {dataset}" in caplog.text
        at = {"arm": "matched", "dataset": dataset}
        for metric in ("matching_score", "matching_score_macro"):
            (row,) = results.select(**at, metric=metric)
            assert math.isnan(row.value)
            assert row.low is row.high is None
        assert results.value(**at, metric="necessity") == 0
        assert results.value(arm="reconstruct_source", dataset=dataset, metric="l0") == 0
    assert "layer 3 is ever" not in caplog.text


def test_a_loss_that_is_not_finite_stops_the_run_and_says_whose(bundled_model, data, tmp_path, small, monkeypatch):
    def overflowing(arm, stage):
        return stand_in(arm, stage) * (math.nan if arm == "reconstruct_target" else 1.0)

    monkeypatch.setattr(measuring, "stand_in", overflowing)
    with pytest.raises(UserError, match=r"layers 2 to 3, arm reconstruct_target, prose: the loss is not finite"):
        validated(bundled_model, tmp_path, small, data, arms=["layer_drop", "reconstruct_target"])
