"""Every picture of a run in which a column is empty, constant, zero or without end: drawn or left out, no crash."""

import dataclasses
import math

import pyarrow as pa
import pytest
import torch

from sae_match.evaluation.statistics.results import Results
from sae_match.report.attempts import Attempts
from sae_match.report.picture import save_pictures
from sae_match.report.validation.pictures import drawings

VALUES = {"nan": math.nan, "zero": 0.0, "constant": 3.25, "negative": -1.0, "infinite": math.inf, "huge": 1e300}


def saved(outcome, folder, *names):
    """Names of the pictures that were drawn and saved, of some or of all; none of them may fail."""
    attempts = Attempts()
    chosen = [(name, draw) for name, draw in drawings(outcome) if not names or name in names]
    pictures = save_pictures(chosen, folder, attempts)
    assert attempts.failed == []
    return {picture.name for picture in pictures}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_results_that_are_all_one_number(outcome, value, tmp_path):
    def of(rows):
        return [dataclasses.replace(row, value=value, low=value, high=value) for row in rows]

    one = dataclasses.replace(
        outcome,
        results=Results(of(outcome.results)),
        spans=of(outcome.spans),
        errors={key: dict.fromkeys(terms, value) for key, terms in outcome.errors.items()},
    )
    names = ("explained_variance", "folding_error", "persistence", "quantiles", "metric_agreement", "threshold_scale")
    assert {"explained_variance", "folding_error", "persistence"} <= saved(one, tmp_path, *names)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_features_that_are_all_alike(outcome, value, tmp_path):
    layers = {
        layer: dataclasses.replace(
            facts,
            threshold=torch.full_like(facts.threshold, value),
            mean_activation=torch.full_like(facts.mean_activation, value),
        )
        for layer, facts in outcome.layers.items()
    }
    saved(dataclasses.replace(outcome, layers=layers), tmp_path, "threshold_scale")
    assert (tmp_path / "threshold_scale.png").is_file()


def test_a_layer_whose_features_never_fire(outcome, tmp_path):
    layers = {
        layer: dataclasses.replace(
            facts,
            active=torch.zeros_like(facts.active),
            mean_activation=torch.full_like(facts.mean_activation, math.nan),
        )
        for layer, facts in outcome.layers.items()
    }
    tables = {
        pair: table.set_column(
            table.column_names.index("target_active"), "target_active", pa.array([0] * len(table), pa.int64())
        )
        for pair, table in outcome.tables.items()
    }
    poor = dataclasses.replace(outcome, layers=layers, tables=tables)
    assert "threshold_scale" in saved(poor, tmp_path, "threshold_scale", "pair_error", "paths")


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_pairs_that_all_cost_the_same(outcome, value, tmp_path):
    tables = {
        pair: table.set_column(table.column_names.index("cost"), "cost", pa.array([value] * len(table), pa.float64()))
        for pair, table in outcome.tables.items()
    }
    saved(dataclasses.replace(outcome, tables=tables), tmp_path, "pair_error")


def test_a_metric_that_was_measured_at_a_longer_distance_only(outcome, tmp_path):
    rows = [row for row in outcome.results if row.target_layer - row.source_layer == 2 or row.metric == "delta_loss"]
    saved(
        dataclasses.replace(outcome, results=Results(rows)), tmp_path, "explained_variance", "quantiles", "persistence"
    )


def test_a_picture_that_crashes_takes_no_other_with_it(outcome, tmp_path):
    def broken():
        raise RuntimeError("no such glyph")
        yield

    attempts = Attempts()
    others = list(drawings(outcome))[:2]
    saved_alone = save_pictures(others, tmp_path / "alone", Attempts())
    saved_beside = save_pictures([("broken", broken), *others], tmp_path, attempts)
    assert [one.name for one in saved_beside] == [one.name for one in saved_alone]
    assert len(saved_alone) >= 4
    assert attempts.failed == ["picture broken (RuntimeError: no such glyph)"]
