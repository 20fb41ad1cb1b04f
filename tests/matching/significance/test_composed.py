from functools import reduce
from itertools import pairwise

import pytest
import torch

from sae_match import compose, match, significance
from sae_match.benchmark.planted_chain import Plan, planted_chain
from sae_match.errors import UserError
from sae_match.matching.significance.composed import composed_significance, path_significance


def chain(new, layers=3, seed=0):
    made = planted_chain(Plan(new), 32, 256, layers=layers, seed=seed)
    saes = [layer.sae for layer in made]
    return made, saes, [match(*pair) for pair in pairwise(saes)]


def test_a_chain_of_one_link_is_that_link():
    _, saes, matchings = chain(0.5, layers=2)
    composed = composed_significance(saes, matchings, rotations=2)
    direct = significance(*saes, matchings[0], rotations=2)
    assert torch.equal(composed.p, direct.p)
    assert torch.equal(path_significance([direct]).q, direct.q)


def test_where_no_link_is_real_nothing_is_significant():
    _, saes, matchings = chain(1.0)
    for links in ("each", "all"):
        assert composed_significance(saes, matchings, links=links, rotations=4).share <= 0.01


def test_most_of_what_is_significant_goes_all_the_way():
    wrong, picked = {"each": 0, "all": 0, "path": 0}, {"each": 0, "all": 0, "path": 0}
    for seed in range(3):
        made, saes, matchings = chain(0.1, seed=seed)
        direct = [
            significance(*pair, matching, rotations=4) for pair, matching in zip(pairwise(saes), matchings, strict=True)
        ]
        judged = {links: composed_significance(saes, matchings, links=links, rotations=4) for links in ("each", "all")}
        judged["path"] = path_significance(direct)
        permutation = reduce(compose, matchings).permutation
        for name, each in judged.items():
            assert torch.equal(each.matching.permutation, permutation)
            some = each.q <= 0.05
            picked[name] += int(some.sum())
            wrong[name] += int((some & (made[0].who != made[-1].who[permutation])).sum())
    assert wrong["each"] <= 0.1 * picked["each"]
    assert wrong["path"] <= 0.1 * picked["path"]
    # A single link that is not real is enough to deceive who takes all of them for random.
    assert picked["all"] >= picked["each"] > 0


def test_a_path_is_as_significant_as_its_worst_link():
    _, saes, matchings = chain(0.3)
    links = [
        significance(*pair, matching, rotations=2) for pair, matching in zip(pairwise(saes), matchings, strict=True)
    ]
    path = path_significance(links)
    middle = matchings[0].permutation
    assert torch.equal(path.p, torch.maximum(links[0].p, links[1].p[middle]))
    assert torch.equal(path.statistic, torch.minimum(links[0].statistic, links[1].statistic[middle]))


def test_a_path_ends_where_a_matching_does():
    _, saes, _ = chain(0.3)
    first = match(saes[0], saes[1], rejection_cost=3.0)
    second = match(saes[1], saes[2])
    links = [significance(*saes[:2], first, rotations=1), significance(*saes[1:], second, rotations=1)]
    assert (first.permutation < 0).any()
    assert torch.equal(path_significance(links).p.isnan(), first.permutation < 0)


@pytest.mark.usefixtures("as_a_user")
def test_what_is_no_chain_is_refused():
    _, saes, matchings = chain(0.5)
    with pytest.raises(UserError, match="a chain of 2 matchings leads through 3 SAEs, got 2"):
        composed_significance(saes[:2], matchings)
    with pytest.raises(UserError, match="unknown links 'some'; there are each, all"):
        composed_significance(saes, matchings, links="some")
    with pytest.raises(UserError, match="a composed matching is judged by composed_significance"):
        significance(saes[0], saes[2], compose(*matchings))
    with pytest.raises(UserError, match="the matching's source is another SAE"):
        composed_significance([saes[1], saes[1], saes[2]], matchings)
    with pytest.raises(UserError, match="a path needs links of one null and one statistic, got none"):
        path_significance([])
