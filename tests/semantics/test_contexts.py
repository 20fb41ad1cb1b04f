from collections import Counter

import pytest
import torch

from sae_match.semantics.contexts import Contexts, Place, shares
from sae_match.text.batches import TokenBatch

LENGTH = 6


def batch(dataset, documents, lengths=None):
    ids = torch.arange(len(documents) * LENGTH).view(len(documents), LENGTH)
    mask = torch.arange(LENGTH)[None] < torch.tensor(lengths or [LENGTH] * len(documents))[:, None]
    scored = mask.clone()
    scored[:, 0] = False
    return TokenBatch(dataset, ids, mask, scored, tuple(documents))


def features(of, seed, width=5):
    tokens = int(of.scored.sum())
    values = torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed)).relu()
    values[:, 3] = 0
    return values


def stream():
    batches = [
        batch("prose", [0, 1, 2]),
        batch("prose", [3, 4], [4, 6]),
        batch("code", [0, 1, 2], [6, 2, 3]),
    ]
    return [(each, {2: features(each, seed), 3: features(each, seed + 100)}) for seed, each in enumerate(batches)]


def collected(seen, **settings):
    contexts = Contexts(**settings)
    contexts.start({2: 5, 3: 5}, ["prose", "code"])
    for each, by_layer in seen:
        for layer, f in by_layer.items():
            contexts.add(layer, each, f)
    return contexts


def naive(seen, layer, feature):
    """Every place at which a feature is active."""
    for each, by_layer in seen:
        for (row, position), value in zip(each.scored.nonzero().tolist(), by_layer[layer][:, feature], strict=True):
            if value > 0:
                yield Place(each.dataset, each.documents[row], position, float(value))


def test_strongest_are_the_best_token_of_the_best_documents():
    seen = stream()
    contexts = collected(seen, strongest=3)
    for layer in (2, 3):
        for feature in range(5):
            best = {}
            for place in sorted(naive(seen, layer, feature), key=lambda place: -place.value):
                best.setdefault((place.dataset, place.document), place)
            assert contexts.strongest(layer, feature) == list(best.values())[:3]


def test_a_feature_that_is_never_active_has_no_place():
    contexts = collected(stream())
    assert contexts.strongest(2, 3) == contexts.sample(2, 3) == []


def test_a_sample_that_holds_everything_is_everything():
    seen = stream()
    contexts = collected(seen, sample=100)
    for feature in range(5):
        assert set(contexts.sample(3, feature)) == set(naive(seen, 3, feature))


def test_processes_find_together_what_one_finds_alone():
    seen = stream()
    alone = collected(seen, strongest=2, sample=4)
    parts = [collected(part, strongest=2, sample=4) for part in (seen[1:], seen[:1], [])]
    together = parts[-1]
    together.fill([part.flat() for part in parts])
    assert torch.equal(together.flat(), alone.flat())


def test_tokens_are_drawn_in_proportion_to_the_value():
    one = batch("prose", [0])
    values = torch.tensor([[1.0], [2.0], [0.0], [5.0], [0.0]])
    drawn = Counter()
    for seed in range(4000):
        contexts = Contexts(sample=1, seed=seed)
        contexts.start({0: 1}, ["prose"])
        contexts.add(0, one, values)
        drawn[contexts.sample(0, 0)[0].position] += 1
    # Three standard errors of the largest share.
    assert {position: count / 4000 for position, count in drawn.items()} == pytest.approx(
        {1: 1 / 8, 2: 2 / 8, 4: 5 / 8}, abs=0.024
    )


def test_shares_are_largest_first():
    assert shares(["a", "b", "b", "b"]) == [("b", 0.75), ("a", 0.25)]
    assert shares([]) == []
