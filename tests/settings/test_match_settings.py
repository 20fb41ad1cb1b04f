"""Which pairs a matching run is told to do."""

import pytest

from sae_match.commands.match import chosen_pairs
from sae_match.errors import UserError
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.collection import SAECollection
from sae_match.saes.settings import SAESettings
from sae_match.settings.match import MatchSettings

FOUR_LAYERS = {layer: {} for layer in ("0", "1", "2", "5")}
ALL = [(0, 1), (0, 2), (0, 5), (1, 2), (1, 5), (2, 5)]


def chosen(layers=FOUR_LAYERS, **given):
    settings = MatchSettings(SAESettings("gemma_scope", "here", layers=layers), MatcherSettings(), **given)
    return chosen_pairs(settings, SAECollection.of(settings.sae))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ("adjacent", [(0, 1), (1, 2)]),
        ("all", ALL),
        ([[2, 5], [0, 1], [2, 5]], [(2, 5), (0, 1)]),
    ],
)
def test_pairs(pairs, expected):
    assert chosen(pairs=pairs) == expected


@pytest.mark.parametrize("shards", [1, 2, 4, 6])
def test_shards_share_the_pairs_out(shards):
    parts = [chosen(pairs="all", shard=shard, shards=shards) for shard in range(shards)]
    assert sorted(pair for part in parts for pair in part) == ALL
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pairs": [[0, 9]]}, "no SAE for layer 9 in here; layers with one: 0, 1, 2, 5"),
        ({"pairs": [[-1, 2]]}, "no SAE for layer -1 in here; layers with one: 0, 1, 2, 5"),
        ({"pairs": [[2, 1]]}, r"from a layer to a later one, got \[2,1\]"),
        ({"pairs": [[1, 1]]}, r"from a layer to a later one, got \[1,1\]"),
        ({"pairs": "neighbours"}, "pairs must be adjacent, all or a list .*'neighbours'"),
        ({"pairs": None}, "pairs must be adjacent, all or a list .*None"),
        ({"pairs": [0, 1]}, "a pair is two layers .* got 0"),
        ({"pairs": [[0, 1, 2]]}, r"a pair is two layers .* got \[0, 1, 2\]"),
        ({"pairs": [[0, "1"]]}, r"a pair is two layers"),
        ({"pairs": []}, r"no pair in here; layers with an SAE: 0, 1, 2, 5; take pairs=all, .* as pairs=\[\[0,1\]\]"),
        ({"layers": {}, "pairs": "all"}, r"pairs=all chooses no pair .*: none; name .*: '\+sae\.layers\.0={…}'"),
        ({"layers": {"3": {"width": "1k", "l0": 6}}}, r"an SAE: 3; name .*: '\+sae\.layers\.4={width: 1k, l0: 6}'"),
        ({"layers": {"3": {"width": "1k"}, "5": {"width": "1k"}}}, r"3, 5; take pairs=all, .* pairs=\[\[3,5\]\]"),
        ({"shard": 2, "shards": 2}, "shard=2 and shards=2"),
        ({"shard": -1, "shards": 2}, "shard=-1 and shards=2"),
        ({"shards": 0}, "shard=0 and shards=0"),
        ({"shard": 2, "shards": 3}, "shard=2 of shards=3 has none of 2 pairs"),
    ],
)
def test_what_cannot_be_chosen_says_what_there_is(given, message):
    with pytest.raises(UserError, match=message):
        chosen(**given)
