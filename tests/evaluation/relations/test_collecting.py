"""What a validation says of relatives, against the functions that read text by themselves."""

import math
import threading
from dataclasses import fields

import pytest
import torch

from sae_match import bundled
from sae_match.errors import UserError
from sae_match.evaluation import resuming
from sae_match.evaluation.measuring import BatchMeasurement, Subject
from sae_match.evaluation.relations.collecting import RelativesCollector
from sae_match.evaluation.relations.overlap import overlap
from sae_match.evaluation.relations.reading import activity_on_text
from sae_match.evaluation.relations.stitching import stitch
from sae_match.evaluation.settings import EvaluationSettings, measurable_arms
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.saes.two import TwoCollections
from tests.evaluation.validating import SOURCES, collection_of, text_of, validated

PAIR = (3, 3)
GIVEN = {"arms": ["matched"], "rotations": 1, "relations": True}


@pytest.fixture(scope="module")
def data(bundled_model):
    return text_of(bundled_model[1])


@pytest.fixture(scope="module")
def both():
    layers = {3: gemma_scope.only_one(bundled.path("saes_seed_100"), 3, 1024)}
    return TwoCollections(collection_of(3), SAECollection("gemma_scope", bundled.path("saes_seed_100"), layers=layers))


@pytest.fixture(scope="module")
def run(bundled_model, tmp_path_factory, both, data):
    return validated(bundled_model, tmp_path_factory.mktemp("run"), both, data, checked=True, **GIVEN)


@pytest.fixture(scope="module")
def related(run):
    return run.matchings[PAIR].related


@pytest.fixture(scope="module")
def opened(both):
    return tuple(both.open(end) for end in both.ends(PAIR))


def assert_alike(ours, theirs):
    """Every number of two results, to the last digits that other sums leave."""
    if isinstance(ours, torch.Tensor):
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-5, atol=1e-7, equal_nan=True)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert_alike(value, theirs[key])
    elif hasattr(ours, "__dataclass_fields__"):
        for field in fields(ours):
            assert_alike(getattr(ours, field.name), getattr(theirs, field.name))
    elif ours is None or (isinstance(ours, float) and math.isnan(ours)):
        assert str(ours) == str(theirs)
    else:
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7)


def test_relatives_do_what_a_pass_of_their_own_finds(bundled_model, run, related, opened, data):
    expected = activity_on_text(bundled_model[0], "residual", opened, PAIR, data.batches)
    assert set(run.state.relatives.overlaps) == {(PAIR, dataset) for dataset in SOURCES}
    for dataset, activity in expected.items():
        assert_alike(run.state.relatives.overlaps[PAIR, dataset], overlap(related, activity, dataset=dataset))


def test_what_a_target_feature_adds_is_what_a_pass_of_its_own_finds(bundled_model, run, related, opened, data):
    expected = stitch(bundled_model[0], "residual", 3, *opened, data.batches, kind=related.target_kind)
    assert set(run.state.relatives.stitched) == {(PAIR, dataset) for dataset in SOURCES}
    for dataset, stitched in expected.items():
        assert_alike(run.state.relatives.stitched[PAIR, dataset], stitched)


def test_relations_are_left_and_found_again(bundled_model, tmp_path, both, data, caplog):
    first = validated(bundled_model, tmp_path, both, data, **GIVEN)
    assert (tmp_path / "relations" / "L03@saes-L03@saes_seed_100.safetensors").is_file()
    kept = sorted((tmp_path / "cache" / "matchings").iterdir())
    second = validated(bundled_model, tmp_path, both, data, **GIVEN)
    assert sorted((tmp_path / "cache" / "matchings").iterdir()) == kept
    assert_alike(first.matchings[PAIR].related.edges, second.matchings[PAIR].related.edges)
    # What is kept by that name and is something else is found anew.
    for file in kept:
        file.write_bytes(b"nothing")
    third = validated(bundled_model, tmp_path, both, data, **GIVEN)
    assert "relations are found anew" in caplog.text
    assert_alike(first.matchings[PAIR].related.edges, third.matchings[PAIR].related.edges)


def test_an_interrupted_run_goes_on_to_the_same_numbers(bundled_model, tmp_path, both, data, run, monkeypatch):
    monkeypatch.setattr(resuming, "_TIMES_WRITING", 0.0)

    def end(what, done, _):
        if (what, done) == ("surveying", 2):
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        validated(bundled_model, tmp_path, both, data, watch=end, **GIVEN)
    told = []
    again = validated(bundled_model, tmp_path, both, data, watch=lambda what, *_: told.append(what), **GIVEN)
    assert told.count("surveying") == len(data.batches) - 1
    assert_alike(again.state.relatives, run.state.relatives)


def test_of_one_collection_neighbours_have_relatives_and_nothing_is_stitched(bundled_model, tmp_path, data):
    saes = collection_of(3, 4)
    module = validated(bundled_model, tmp_path, saes, data, **GIVEN)
    found = module.state.relatives
    assert not found.stitched
    opened = tuple(saes.open(layer) for layer in (3, 4))
    activity = activity_on_text(bundled_model[0], "residual", opened, (3, 4), data.batches)
    for dataset, each in activity.items():
        expected = overlap(module.matchings[3, 4].related, each, dataset=dataset)
        assert_alike(found.overlaps[(3, 4), dataset], expected)


class Together:
    """Adds up what several threads have, each at the same step."""

    def __init__(self, count):
        self.barrier, self.parts = threading.Barrier(count), [None] * count

    def of(self, number):
        def summed(own):
            self.parts[number] = own
            self.barrier.wait()
            total = torch.stack(self.parts).sum(0)
            self.barrier.wait()
            return total

        return summed


def test_processes_that_share_a_text_find_what_one_finds(bundled_model, run, related, both, data):
    # One of them has nothing of it.
    layout, stream, count = run.state.layout, bundled_model[0], len(data.batches) + 1
    subject = Subject(stream, "residual", both.open, {}, {}, [], apart=True)
    own = []
    for rank in range(count):
        collector = RelativesCollector({PAIR: related}, layout, 0)
        for batch in data.batches[rank::count]:
            with torch.no_grad():
                at = BatchMeasurement.captured(subject, batch, [PAIR], whole=False)
                collector.add_tokens(batch)
                for end in both.ends(PAIR):
                    collector.add_end(end, at)
                collector.add_pair(PAIR, at)
        own.append(collector)
    together, found = Together(count), [None] * count

    def find(rank):
        found[rank] = own[rank].found(together.of(rank))

    threads = [threading.Thread(target=find, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        assert_alike(each, run.state.relatives)
        # Whole numbers add up to the same in any order.
        for key, one in each.overlaps.items():
            assert torch.equal(one.containment.tokens, run.state.relatives.overlaps[key].containment.tokens)


def test_what_is_cut_off_or_of_something_else_is_refused(run, related):
    def collector():
        return RelativesCollector({PAIR: related}, run.state.layout, 0)

    flat = collector().flat()
    collector().fill(flat)
    for wrong in (flat[:-1], flat[:0], torch.cat([flat, flat[:1]]), torch.cat([torch.ones(1).double(), flat])):
        with pytest.raises(ValueError, match=r"cut off|of nothing|tokens of its documents"):
            collector().fill(wrong)


def test_relations_without_the_matching_that_they_are_of_are_refused():
    with pytest.raises(UserError, match=r"have matched among evaluation\.arms"):
        EvaluationSettings(arms=["random"], relations=True)


def test_relations_without_significance_have_it_built_on_the_way():
    settings = EvaluationSettings(arms=["matched", "matched_significant"], relations=True, rotations=0)
    assert settings.random_targets == EvaluationSettings().rotations
    assert measurable_arms(settings) == settings.arms
    assert EvaluationSettings(rotations=0).random_targets == 0
    assert EvaluationSettings(relations=True, rotations=3).random_targets == 3
