import math

import torch

from sae_match.semantics.strongest import Entries, Strongest


def entries(*rows):
    feature, key, value, place = zip(*rows, strict=True)
    return Entries(torch.tensor(feature), torch.tensor(key).double(), torch.tensor(value).float(), torch.tensor(place))


def random_entries(seed, size, features):
    generator = torch.Generator().manual_seed(seed)
    # Few distinct keys: ties are the hard case.
    keys = torch.randint(0, 9, (size,), generator=generator).double()
    feature = torch.randint(0, features, (size,), generator=generator)
    place = torch.randperm(size, generator=generator) + seed * size
    return Entries(feature, keys, keys.float() + 0.5, place)


def naive(batches, features, most):
    every = [row for batch in batches for row in zip(*(x.tolist() for x in vars(batch).values()), strict=True)]
    return [
        [(value, place) for _, value, place in sorted((-k, v, p) for f, k, v, p in every if f == feature)[:most]]
        for feature in range(features)
    ]


def test_the_strongest_of_each_feature_are_kept_strongest_first():
    kept = Strongest(3, 2)
    kept.add(entries((0, 1.0, 10, 7), (2, 5.0, 50, 8), (0, 3.0, 30, 9)))
    kept.add(entries((0, 2.0, 20, 10)))
    assert kept.of(0).tolist() == [[30, 9], [20, 10]]
    assert kept.of(1).tolist() == []
    assert kept.of(2).tolist() == [[50, 8]]


def test_any_order_and_division_of_the_stream_keeps_the_same():
    batches = [random_entries(seed, 60, 4) for seed in range(5)]
    expected = naive(batches, 4, 6)
    whole, backwards, first, second = (Strongest(4, 6) for _ in range(4))
    for batch in batches:
        whole.add(batch)
    for batch in reversed(batches):
        backwards.add(batch)
    for part, several in ((first, batches[:2]), (second, batches[2:])):
        for batch in several:
            part.add(batch)
    first.join(second.kept)
    for kept in (whole, backwards, first):
        assert [[tuple(row) for row in kept.of(feature).tolist()] for feature in range(4)] == expected


def test_the_first_of_each_group_has_its_highest_key():
    chosen = entries((0, 1.0, 1, 0), (0, 4.0, 4, 1), (1, 2.0, 2, 2)).first_of(torch.tensor([5, 5, 3]))
    found = zip(chosen.key.tolist(), chosen.feature.tolist(), chosen.place.tolist(), strict=True)
    assert sorted(found) == [(-math.inf, 0, 0), (2.0, 1, 2), (4.0, 0, 1)]
