"""What an interrupted validation is known by: each thing that its sums follow from makes it another one."""

import copy
from dataclasses import replace

import pytest
import torch

from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.settings import MatcherSettings
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.collection import SAECollection
from tests.evaluation.validating import TEXT, collection_of, fitting_text, saved, text_of, validated

ARMS = ["mean", "matched"]


@pytest.fixture
def kept_at(bundled_model, tmp_path):
    """The file that a validation keeps its sums in; what it differs in from the usual one is given."""

    def run(model=bundled_model, collection=None, text=TEXT, fitting=None, **changes):
        data = text_of(model[1], text)
        module: MatchValidation = validated(
            model,
            tmp_path,
            collection or collection_of(3, 4),
            data,
            fitting=fitting_text(model[1], data if fitting is None else text_of(model[1], fitting)),
            **{"arms": ARMS, **changes},
        )
        return module.session.kept.file

    return run


@pytest.fixture
def usual(kept_at):
    found = kept_at()
    assert kept_at() == found
    return found


def test_other_settings(kept_at, usual):
    assert kept_at(seed=1) != usual
    assert kept_at(arms=["matched"]) != usual
    assert kept_at(memory=8.0) == usual


def test_another_site(kept_at, usual):
    saes = collection_of(3, 4)
    assert kept_at(collection=replace(saes, site="residual_before")) != usual


def test_another_matcher(kept_at, usual):
    assert kept_at(matcher=MatcherSettings(fold="decoder_norm")) != usual
    assert kept_at(matcher=MatcherSettings(solver="sparse")) == usual


def test_other_saes(kept_at, usual, tmp_path):
    collection: SAECollection = collection_of(3, 4)
    other = collection.open(4)
    other.b_dec[0] += 1e-3
    assert kept_at(collection=saved({3: collection.open(3), 4: other}, tmp_path / "saes")) != usual


def test_another_model(kept_at, usual, bundled_model):
    model = copy.deepcopy(bundled_model[0]), bundled_model[1]
    model[0].layers[7].mlp.down_proj.weight.data.flatten()[-1] += 1e-2
    assert kept_at(model=model) != usual


def test_other_text(kept_at, usual):
    assert kept_at(text=replace(TEXT, seed=1), fitting=TEXT) != usual


def test_other_fitting_text(kept_at, usual):
    assert kept_at(fitting=replace(TEXT, seed=1)) != usual


def test_products_of_another_precision(kept_at, usual):
    torch.set_float32_matmul_precision("medium")
    try:
        assert kept_at() != usual
    finally:
        torch.set_float32_matmul_precision("highest")


def test_attention_that_is_computed_otherwise(kept_at, usual, monkeypatch):
    # Of the bundled model's only one knows its soft cap.
    monkeypatch.setattr(ResidualStream, "attention", "sdpa")
    assert kept_at() != usual
