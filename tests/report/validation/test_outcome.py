import dataclasses
import math

import pytest
import torch

from sae_match.evaluation.matching_error import folded, matching_errors
from sae_match.evaluation.statistics.results import WEIGHTS
from sae_match.report.validation.outcome import Outcome
from tests.report.validation.pictures.conftest import ARMS, module, outcome

__all__ = ["module", "outcome"]


def test_facts_are_of_all_datasets_together(outcome, module):
    tally, survey = module[0].tally, module[0].survey
    for layer, facts in outcome.layers.items():
        keys = [(layer, "prose"), (layer, "code")]
        counts = [int(tally.l0(key)[0, 1]) for key in keys]
        active = sum(tally.active(key) for key in keys)
        assert facts.tokens == sum(counts)
        assert torch.equal(facts.active, active.long())
        said = sum(survey.mean_features(key) * count for key, count in zip(keys, counts, strict=True))
        live = active > 0
        torch.testing.assert_close(facts.mean_activation[live], (said / active)[live])
        assert facts.mean_activation[~live].isnan().all()
        # A JumpReLU feature says more than its threshold whenever it says something.
        assert (facts.mean_activation[live] > facts.threshold[live]).all()


def test_errors_are_those_of_the_folded_parameters(outcome, module):
    assert {pair for pair, _ in outcome.errors} == {(2, 3), (3, 4)}
    source, target = (folded(module[0].open_sae(layer)) for layer in (3, 4))
    permutation = outcome.matchings[3, 4].matchings["matched_unfolded"].permutation
    found = outcome.errors[(3, 4), "matched_unfolded"]
    assert found == matching_errors(source, target, outcome.matchings[3, 4].matchings["matched_unfolded"])
    by_hand = [float((source.W_dec[i] - target.W_dec[j]).square().sum()) for i, j in enumerate(permutation.tolist())]
    assert found["W_dec"] == pytest.approx(math.fsum(by_hand) / source.W_dec.numel(), rel=1e-5)


def test_a_matching_of_all_terms_has_the_least_sum_of_errors(outcome):
    weights = {"W_enc": 128, "b_enc": 1, "W_dec": 128}
    for pair in outcome.neighbours():
        sums = {
            arm: sum(outcome.errors[pair, arm][term] * weight for term, weight in weights.items())
            for arm in ("matched", "matched_unfolded", "identity", "random")
        }
        assert min(sums, key=sums.get) == "matched"
        cost = outcome.matchings[pair].matchings["matched"].cost
        assert sums["matched"] * 1024 == pytest.approx(cost, rel=1e-5)


def test_everything_has_the_numbers_of_weights_alone_as_well(outcome):
    every = outcome.everything()
    assert list(every)[: len(outcome.results)] == list(outcome.results)
    of_weights = every.select(dataset=WEIGHTS)
    errors = [row for row in of_weights if row.metric.startswith("mse_")]
    assert {row.metric for row in errors} == {"mse_W_enc", "mse_b_enc", "mse_W_dec"}
    assert {row.arm for row in errors} == set(ARMS) - {"reconstruct_source", "quantile_0.5", "composed"}
    value = every.value(source_layer=2, target_layer=3, arm="matched", dataset=WEIGHTS, metric="mse_W_dec")
    assert value == outcome.errors[(2, 3), "matched"]["W_dec"]


def test_everything_has_what_significance_says_as_well(outcome):
    every = outcome.everything()
    for row in outcome.findings.results:
        assert row in every.rows
    shares = {
        (row.source_layer, row.target_layer, row.arm): row.value for row in every.select(metric="significant_share")
    }
    assert shares.keys() == {(2, 3, "matched"), (3, 4, "matched"), (2, 4, "matched"), (2, 4, "composed")}
    assert shares[2, 3, "matched"] == outcome.matchings[2, 3].judged.significance.share
    # Charts and summaries have it too, and means at the distances that were measured.
    assert len(outcome.logged()) == len(outcome.results) + len(outcome.findings.results)
    spans = [row for row in outcome.all_spans() if row.metric == "significant_share"]
    assert {(row.span, row.arm) for row in spans} == {(1, "matched"), (2, "matched"), (2, "composed")}


def test_a_run_that_has_judged_nothing_has_no_findings(outcome, module):
    bare = {pair: dataclasses.replace(found, judged=None) for pair, found in module[0].matchings.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module[0], "matchings", bare)
        found = Outcome.of(*module, outcome.results, outcome.spans)
    assert found.findings is None
    assert found.all_spans() == list(outcome.spans)
    assert found.tables[2, 3]["q"].null_count == len(found.tables[2, 3])


def test_the_norm_of_the_residual_is_among_the_results(outcome, module):
    tally = module[0].tally
    row = outcome.results.select(source_layer=2, target_layer=3, arm="reconstruct_source", metric="residual_norm")
    (prose,) = row.select(dataset="prose")
    assert prose.value == pytest.approx(float(tally.residual((2, "prose")).mean_square[0].sqrt()))
    assert prose.low < prose.value < prose.high
