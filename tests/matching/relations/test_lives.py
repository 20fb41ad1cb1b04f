import math

import pytest
import torch

from sae_match.errors import UserError
from sae_match.matching.relations.kinds import Components
from sae_match.matching.relations.lives import BIRTHS, DEATHS, lives
from sae_match.matching.relations.result import Edges, Relations, RelationsEvidence

EVIDENCE = RelationsEvidence("second_moment", "mean", 8, 0, 0.05, 0.3, 80, 80, 0.3, 0.3, 0)


def related(pairs, n_source, n_target, untested=()) -> Relations:
    source, target = torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2).T.contiguous()
    ones, true = torch.ones(len(source), dtype=torch.float64), torch.ones(len(source), dtype=torch.bool)
    p = torch.zeros(n_source, dtype=torch.float64), torch.zeros(n_target, dtype=torch.float64)
    for feature in untested:
        p[0][feature] = math.nan
    edges = Edges(source, target, ones, ones, ones * 0, ones * 0, true, true, true)
    return Relations(edges, Components.of(source, target, n_source, n_target), *p, EVIDENCE)


def walked(chain, layer, feature):
    """Where a feature that is one to one gets to, link by link, both ways."""
    first, last = (layer, feature), (layer, feature)
    for step, ends in ((-1, 1), (1, 0)):
        at = (layer, feature)
        while 0 <= at[0] + min(step, 0) < len(chain):
            edges = chain[at[0] + min(step, 0)].edges
            pairs = list(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
            own = [pair for pair in pairs if pair[ends] == at[1]]
            if len(own) != 1 or sum(pair[1 - ends] == own[0][1 - ends] for pair in pairs) != 1:
                break
            at = (at[0] + step, own[0][1 - ends])
        first, last = (at, last) if step < 0 else (first, at)
    return first, last


CHAIN = [
    related([(0, 2), (1, 0), (1, 1), (3, 3)], 5, 5, untested=(4,)),
    related([(0, 0), (2, 3), (3, 1), (4, 1)], 5, 4),
]


def test_a_life_is_one_to_one_as_long_as_it_lasts():
    found = lives((12, 13, 14), CHAIN)
    assert found.first.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert found.feature.tolist() == [0, 1, 2, 3, 4, 0, 1, 4, 1, 2]
    assert found.last.tolist() == [2, 0, 0, 1, 0, 2, 1, 1, 2, 2]
    assert found.last_feature.tolist() == [3, 1, 2, 3, 4, 0, 1, 4, 1, 2]
    assert [BIRTHS[number] for number in found.birth.tolist()] == [
        *["first layer"] * 5,
        *("child of a split", "child of a split", "appears", "merged from several", "appears"),
    ]
    assert [DEATHS[number] for number in found.death.tolist()] == [
        *("last layer", "splits", "ends", "merges", "not tested"),
        *("last layer", "ends", "merges", "last layer", "last layer"),
    ]


def test_lives_are_told_in_words():
    found = lives((12, 13, 14), CHAIN)
    assert found.told(12, 1) == "feature 1: first layer at layer 12, splits at layer 13"
    assert found.told(13, 1) == "feature 1: child of a split at layer 13, ends at layer 14"
    assert found.told(14, 3) == "feature 3: first layer at layer 12, last layer at layer 14"
    with pytest.raises(UserError, match="layer 15 is not one of the chain's, 12, 13, 14"):
        found.told(15, 0)
    with pytest.raises(UserError, match="layer 14 has no feature 4; there are 0 to 3"):
        found.told(14, 4)


@pytest.mark.parametrize("seed", range(4))
def test_lives_are_what_a_walk_from_link_to_link_finds(seed):
    generator = torch.Generator().manual_seed(seed)
    chain = [
        related({(i, j) for i, j in torch.randint(0, 12, (9, 2), generator=generator).tolist()}, 12, 12)
        for _ in range(4)
    ]
    found = lives(range(5), chain)
    for layer in range(5):
        for feature in range(12):
            life = int(found.of[layer][feature])
            first, last = walked(chain, layer, feature)
            assert (int(found.first[life]), int(found.feature[life])) == first
            assert (int(found.last[life]), int(found.last_feature[life])) == last
    assert sum(map(len, found.of)) == 60
    assert len(found) == len(torch.cat(found.of).unique())


def test_what_is_no_chain_is_refused():
    with pytest.raises(UserError, match="relations of 1 pairs of neighbours go with one layer more, got 3"):
        lives((0, 1, 2), CHAIN[:1])
    with pytest.raises(UserError, match="lead to 4 features of layer 1 and from 5"):
        lives((0, 1, 2), [CHAIN[1], CHAIN[0]])
