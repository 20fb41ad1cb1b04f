"""A validation that is told to end: it heeds at once in every phase, and nothing that is finished is lost."""

import logging

import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from sae_match.evaluation.causal.settings import CausalSettings
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.scope import Surroundings
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.settings import MatcherSettings
from tests.evaluation.validating import collection_of, fitting_text, text_of, trainer

ARMS = ["mean", "matched", "coactivation"]
PHASES = ["fitting text", "matching by co-activation", "surveying", "validating", "switching off"]


@pytest.fixture
def started(bundled_model, tmp_path):
    """A validation of two pairs, its trainer and its text; `watch` is told what is being done."""
    data = text_of(bundled_model[1])
    fitting = fitting_text(bundled_model[1], data)

    def start(watch=lambda *_: None):
        module = MatchValidation(
            bundled_model[0],
            collection_of(2, 3, 4),
            MatcherSettings(),
            EvaluationSettings(arms=ARMS, causal=CausalSettings(features=3, documents=2)),
            Surroundings(MatchingCache(tmp_path / "cache" / "matchings"), tmp_path, watch=watch),
        )
        return module, trainer(tmp_path), ValidationText(data, fitting)

    return start


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_heeds_a_sigterm_at_its_next_step(started, phase):
    told = []

    def terminate(what, done, total):
        told.append((what, done, total))
        if what == phase:
            run.received_sigterm_at = len(told)
            run._signal_connector.received_sigterm = True

    module, run, data = started(terminate)
    with pytest.raises((SIGTERMException, SystemExit)):
        run.validate(module, data, verbose=False)
    # Nothing is told of after the step in which it was told to end.
    assert len(told) == run.received_sigterm_at
    assert told[-1][0] == phase


def test_sums_stay_until_the_results_are_written(started, tmp_path, caplog):
    module, run, data = started()
    module.keeps_sums = True
    run.validate(module, data, verbose=False)
    expected = list(module.results)
    kept = list((tmp_path / "cache" / "validations").iterdir())
    assert kept

    told = []
    again, run, data = started(lambda what, *_: told.append(what))
    again.keeps_sums = True
    with caplog.at_level(logging.INFO):
        run.validate(again, data, verbose=False)
    assert f"going on after {len(data.evaluated.batches)} batches" in caplog.text
    assert not {"validating", "switching off"} & set(told)
    (one, other) = (found.state.causal[2, 3][1].flat() for found in (module, again))
    assert torch.equal(one, other)
    assert list(again.results) == expected
    again.forget()
    assert not any(file.exists() for file in kept)


def test_whoever_does_not_ask_for_them_leaves_no_sums(started, tmp_path):
    module, run, data = started()
    run.validate(module, data, verbose=False)
    assert not list((tmp_path / "cache" / "validations").glob("*"))
