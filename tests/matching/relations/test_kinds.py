import pytest
import torch

from sae_match.matching.relations.kinds import KINDS, MANY_TO_MANY, MERGE, ONE_TO_ONE, SPLIT, Components


def of(pairs, n_source, n_target):
    source, target = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return Components.of(source.contiguous(), target.contiguous(), n_source, n_target)


def naive(pairs):
    """Components by walking from feature to feature."""
    left, found = {("s", i) for i, _ in pairs} | {("t", j) for _, j in pairs}, []
    while left:
        reached = {min(left)}
        while True:
            more = {("t", j) for i, j in pairs if ("s", i) in reached} | {
                ("s", i) for i, j in pairs if ("t", j) in reached
            }
            if more <= reached:
                break
            reached |= more
        found.append(reached)
        left -= reached
    return found


def test_each_kind_is_what_its_name_says():
    found = of([(0, 0), (1, 1), (1, 2), (2, 3), (3, 3), (4, 4), (5, 4), (5, 5)], 7, 7)
    assert found.kind.tolist() == [ONE_TO_ONE, SPLIT, MERGE, MANY_TO_MANY]
    assert found.of_source.tolist() == [0, 1, 2, 2, 3, 3, -1]
    assert found.of_target.tolist() == [0, 1, 1, 2, 3, 3, -1]
    assert found.sources.tolist() == [1, 1, 2, 2]
    assert found.targets.tolist() == [1, 2, 1, 2]
    assert len(KINDS) == 7


@pytest.mark.parametrize("seed", range(5))
def test_components_are_those_of_a_walk_from_feature_to_feature(seed):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, 30, (25, 2), generator=generator).tolist()
    pairs = sorted({(i, j) for i, j in drawn})
    found, expected = of(pairs, 30, 30), naive(pairs)
    assert len(found.kind) == len(expected)
    for number, members in enumerate(sorted(expected, key=min)):
        assert {i for side, i in members if side == "s"} == set(
            (found.of_source == number).nonzero().flatten().tolist()
        )
        assert {j for side, j in members if side == "t"} == set(
            (found.of_target == number).nonzero().flatten().tolist()
        )
    assert int(found.sources.sum()) == int((found.of_source >= 0).sum())


def test_without_edges_there_is_no_component():
    found = of([], 3, 2)
    assert len(found.kind) == 0
    assert found.of_source.tolist() == [-1, -1, -1]
