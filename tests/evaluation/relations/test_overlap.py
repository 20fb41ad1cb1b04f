import math

import numpy as np
import pytest
import torch

from sae_match import match, relations, significance
from sae_match.benchmark.relations.planted import Fates, planted_activity, planted_relations
from sae_match.errors import UserError
from sae_match.evaluation.relations import overlap as module
from sae_match.evaluation.relations.activity import PairedActivity
from sae_match.evaluation.relations.controls import as_frequent
from sae_match.evaluation.relations.overlap import overlap
from sae_match.evaluation.statistics.streaming import Active
from sae_match.matching.relations.kinds import MANY_TO_MANY, MERGE, SPLIT

TOKENS, DOCUMENTS = 1200, 12


@pytest.fixture(scope="module")
def planted():
    return planted_relations(Fates.of(0.9, 128), 64, 0)


@pytest.fixture(scope="module")
def related(planted):
    matching = match(planted.source, planted.target)
    return relations(planted.source, planted.target, matching, significance(planted.source, planted.target, matching))


@pytest.fixture(scope="module")
def active(planted):
    source, target = planted_activity(planted, TOKENS, 0, rate=0.1)
    # Now and then a target feature is active where it has no reason to be.
    noise = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.005
    return source, target | noise


def recorded(active, batches=1) -> PairedActivity:
    record = PairedActivity(*(side.shape[1] for side in active))
    document = torch.arange(TOKENS) * DOCUMENTS // TOKENS
    for part in torch.arange(TOKENS).chunk(batches):
        record.add(*(Active.of(side[part].float()) for side in active), document[part])
    return record


@pytest.fixture(scope="module")
def found(related, active):
    return overlap(related, recorded(active), dataset="prose")


def test_containment_and_coverage_are_those_of_naive_loops(related, active, found):
    source, target = active
    edges = list(zip(related.edges.source.tolist(), related.edges.target.tolist(), strict=True))
    for number, (i, j) in enumerate(edges):
        parent, child = source[:, i], target[:, j]
        if int(related.edge_kind[number]) == MERGE:
            parent, child = child, parent
        share = int((parent & child).sum()) / int(child.sum())
        assert float(found.containment.value[number]) == pytest.approx(share, abs=1e-12)
        assert int(found.containment.tokens[number]) == int(child.sum())
    for component, kind in enumerate(related.components.kind.tolist()):
        if kind == MANY_TO_MANY:
            assert math.isnan(found.coverage.value[component])
            continue
        mine = [edge for edge, of in zip(edges, related.edge_component.tolist(), strict=True) if of == component]
        columns = source[:, sorted({i for i, _ in mine})], target[:, sorted({j for _, j in mine})]
        parent, children = columns if kind != MERGE else columns[::-1]
        share = int((parent.any(1) & children.any(1)).sum()) / int(parent.any(1).sum())
        assert float(found.coverage.value[component]) == pytest.approx(share, abs=1e-12)


def test_what_was_planted_contains_and_covers_and_random_features_do_not(found):
    for kind in ("one to one", "split", "merge"):
        for means in (found.mean_containment, found.mean_coverage):
            assert means[kind].share.value > 0.8
            assert means[kind].control.value < 0.4
            assert means[kind].difference.low > 0.3
    # A random parent is active as often as any token is one of its own.
    assert found.mean_containment["split"].control.value == pytest.approx(0.1, abs=0.04)


def test_intervals_hold_what_they_are_of(found):
    share = found.containment
    known = share.enough & ~share.low.isnan()
    assert int(known.sum()) > 20
    assert (share.low <= share.value + 1e-12)[known].all()
    assert (share.high >= share.value - 1e-12)[known].all()


def test_means_are_over_what_is_active_often_enough_and_has_a_control(related, found):
    of_split = related.edge_kind == SPLIT
    counts = of_split & found.containment.enough & ~found.containment.control.isnan()
    assert found.mean_containment["split"].of == int(counts.sum())
    mean = float(found.containment.value[counts].mean())
    assert found.mean_containment["split"].share.value == pytest.approx(mean, abs=1e-12)


def test_batches_and_blocks_change_nothing(related, active, found, monkeypatch):
    monkeypatch.setattr(module, "_COLUMNS", 7)
    again = overlap(related, recorded(active, batches=5), dataset="prose")
    for one, other in ((found.containment, again.containment), (found.coverage, again.coverage)):
        for name in ("value", "low", "high", "control"):
            assert torch.allclose(getattr(one, name), getattr(other, name), equal_nan=True, rtol=0, atol=1e-12)
        assert torch.equal(one.tokens, other.tokens)
    assert again.mean_containment["split"].share.low == pytest.approx(found.mean_containment["split"].share.low)


def test_a_feature_that_never_fires_has_no_share(related, active):
    source, target = (side.clone() for side in active)
    edge = int((related.edge_kind == SPLIT).nonzero()[0])
    target[:, related.edges.target[edge]] = False
    found = overlap(related, recorded((source, target)), dataset="prose")
    assert math.isnan(found.containment.value[edge])
    assert int(found.containment.tokens[edge]) == 0
    assert not bool(found.containment.enough[edge])


def test_what_does_not_belong_together_is_refused(related, active):
    with pytest.raises(UserError, match=r"the activity is of .* features, the relations are of"):
        overlap(related, recorded((active[0][:, :5], active[1])), dataset="prose")
    empty = PairedActivity(active[0].shape[1], active[1].shape[1])
    with pytest.raises(UserError, match="there is no token"):
        overlap(related, empty, dataset="prose")
    with pytest.raises(UserError, match="cannot be joined"):
        empty.add(*(Active.of(side.float()) for side in active), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(UserError, match="the source has"):
        empty.add(
            Active.of(active[0][:, :5].float()), Active.of(active[1].float()), torch.zeros(TOKENS, dtype=torch.int64)
        )


def test_random_features_are_as_frequent_and_no_relatives():
    counts = np.arange(1, 401)
    component = np.full(400, -1)
    component[90:110] = 3
    allowed = np.ones(400, dtype=bool)
    allowed[120:130] = False
    drawn = as_frequent(np.array([100, 399, 0]), counts, component, allowed, 50, 0)
    ratio = counts[drawn[:2]] / counts[[100, 399]][:, None]
    assert ratio.min() >= 0.5
    assert ratio.max() <= 2
    assert not set(drawn[0]) & {*range(90, 110), *range(120, 130)}
    assert 399 not in drawn[1]
    # Nothing but the second feature is within a factor of two of the first.
    assert (drawn[2] == -1).all()
    assert np.array_equal(drawn, as_frequent(np.array([100, 399, 0]), counts, component, allowed, 50, 0))


def test_a_feature_that_never_fires_has_no_random_ones():
    assert (as_frequent(np.array([0]), np.zeros(9, dtype=np.int64), np.full(9, -1), np.ones(9, bool), 3, 0) == -1).all()
