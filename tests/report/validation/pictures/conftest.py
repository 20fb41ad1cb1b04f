"""One small validation of bundled SAEs, with everything that a picture may ask for."""

import pytest

from sae_match.report.validation.outcome import Outcome
from sae_match.semantics.contexts import Contexts
from sae_match.semantics.passages import Passages
from tests.evaluation.validating import collection_of, text_of, validated

ARMS = ["reconstruct_source", "matched", "matched_unfolded", "composed", "identity", "random", "quantile_0.5"]


@pytest.fixture(scope="session")
def module(bundled_model, tmp_path_factory):
    data, contexts = text_of(bundled_model[1]), Contexts()
    module = validated(
        bundled_model,
        tmp_path_factory.mktemp("pictures"),
        collection_of(2, 3, 4),
        data,
        observers=[contexts],
        arms=ARMS,
        spans=[1, 2],
        rotations=2,
    )
    return module, Passages(contexts, data.batches, data.tokenizer)


@pytest.fixture(scope="session")
def outcome(module):
    return Outcome.of(*module)
