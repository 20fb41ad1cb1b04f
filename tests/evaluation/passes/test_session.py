"""The passes of a validation: ended anywhere they go on from there, and each SAE is read once for all of its work."""

import logging
from collections import Counter

import pytest
import torch

from sae_match.evaluation import resuming
from sae_match.evaluation.passes import fitting
from sae_match.semantics.contexts import Contexts
from tests.evaluation.validating import collection_of, fitting_text, text_of, validated

ARMS = ["mean", "linear_map_sae", "matched", "coactivation"]
PAIRS, BATCHES, FITTING_BATCHES = 3, 4, 2
# Where a run is ended: what it was doing, how much of it was done, and how many steps of that are told before the end.
PLACES = [
    ("fitting text", 1),
    ("matching by co-activation", 1),
    ("matching by co-activation", 2),
    ("surveying", 2),
    ("surveying", 4),
    ("validating", PAIRS + 1),
    ("validating", 4 * PAIRS),
]


@pytest.fixture(scope="module")
def collection():
    return collection_of(2, 3, 4)


@pytest.fixture
def run(bundled_model, collection, tmp_path):
    """A validation with a cache of its own, and with what it tells; contexts are collected as well."""
    data = text_of(bundled_model[1])
    others = fitting_text(bundled_model[1], data)

    def start(watch=lambda *_: None, **settings):
        told, contexts = [], Contexts(2, 3)

        def heard(what, done, total):
            told.append((what, done, total))
            watch(what, done, total)

        given = {"arms": ARMS, "spans": [1, 2], **settings}
        module = validated(
            bundled_model, tmp_path, collection, data, fitting=others, watch=heard, observers=[contexts], **given
        )
        return module, told, contexts

    start.data = data
    return start


@pytest.fixture
def undisturbed(run, tmp_path):
    module, told, contexts = run()
    assert Counter(what for what, *_ in told) == {
        "fitting text": FITTING_BATCHES,
        "matching by co-activation": PAIRS,
        "surveying": BATCHES,
        "validating": BATCHES * (PAIRS + 1),
    }
    assert not list((tmp_path / "cache" / "validations").iterdir())
    return list(module.results), contexts.flat()


@pytest.mark.parametrize(("phase", "done"), PLACES)
def test_a_run_that_is_ended_anywhere_goes_on_from_there_to_the_same_numbers(
    run, undisturbed, phase, done, monkeypatch, caplog
):
    # After every batch, however quick it was.
    monkeypatch.setattr(resuming, "_TIMES_WRITING", 0.0)

    def end(what, now, _):
        if (what, now) == (phase, done):
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(end)
    with caplog.at_level(logging.INFO):
        module, told, contexts = run()
    # What was finished is not done again: the batch in which it was ended is the first.
    again = Counter(what for what, *_ in told)
    finished = {"surveying": done - 1, "validating": (done - 1) // PAIRS}.get(phase, 0)
    if finished:
        assert f"{phase}: going on after {finished} batches that an earlier run has finished" in caplog.text
    if phase == "surveying":
        assert again["surveying"] == BATCHES - finished
    if phase == "validating":
        assert (again["surveying"], again["validating"]) == (0, (BATCHES - finished) * (PAIRS + 1))
    assert list(module.results) == undisturbed[0]
    assert torch.equal(contexts.flat(), undisturbed[1])


def test_a_pair_that_was_fitted_is_not_fitted_again(run, undisturbed, monkeypatch):
    matched, match = [], fitting.match_by_coactivation
    monkeypatch.setattr(fitting, "match_by_coactivation", lambda counts: matched.append(1) or match(counts))

    def end(what, now, _):
        if (what, now) == ("matching by co-activation", 2):
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(end)
    assert len(matched) == 2
    module, *_ = run()
    assert len(matched) == PAIRS
    assert list(module.results) == undisturbed[0]


def test_saes_that_do_not_stay_open_are_read_once_a_pair_and_batch(bundled_model, collection, tmp_path, monkeypatch):
    data, read, opened = text_of(bundled_model[1]), [], collection.open
    given = {"fitting": fitting_text(bundled_model[1], data), "arms": ARMS, "spans": [1, 2], "memory": 1e-9}
    phases = Counter()

    def watch(what, *_):
        # Counted when a step of it is done.
        phases[what] += len(read)
        read.clear()

    monkeypatch.setattr(collection, "open", lambda layer: read.append(layer) or opened(layer))
    run = validated(bundled_model, tmp_path, collection, data, watch=watch, **given)
    assert run.scope.pairs == [(2, 3), (2, 4), (3, 4)]
    assert run.plan().clean_passes == 3
    # Matched in the order (2, 3), (3, 4), (2, 4), which takes layers 2, 3, 4 and 2 again. Fitting counts the
    # co-activations of three layers a batch.
    assert phases["fitting text"] == 4 + 3 * FITTING_BATCHES
    assert phases["matching by co-activation"] == 0
    # Matchings that join, in the order of pairs: 2 and 3, 4, 3. Then each batch: 2 (3 is open), 4, 3.
    joined, each = 4, 3
    assert phases["surveying"] == joined + (BATCHES * each - 1) + 1
    # The means of errors, pair by pair: 2, 4, 3. Each batch as before.
    assert phases["validating"] == 3 + BATCHES * each
    assert not read
