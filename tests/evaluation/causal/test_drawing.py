import numpy as np

from sae_match.evaluation.causal.drawing import in_proportion, thirds, uniform


def test_draws_are_uniform_and_follow_from_what_they_are_for():
    drawn = uniform(0, "a", np.arange(20_000))
    assert np.abs(np.histogram(drawn, 20, (0, 1))[0] - 1000).max() < 150
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.03
    grid = uniform(0, "a", [[3], [5]], np.arange(4))
    assert grid.shape == (2, 4)
    assert uniform(0, "a", 5, 2) == grid[1, 2]
    others = [uniform(0, "b", 5, 2), uniform(1, "a", 5, 2), uniform(0, "a", 2, 5)]
    assert grid[1, 2] not in np.concatenate(others)


def test_every_stratum_has_its_share():
    generator = np.random.default_rng(0)
    strata = np.stack([generator.random(1000) < 0.1, generator.integers(3, size=1000)], 1).astype(np.int64)
    chosen = in_proportion(strata, 100, generator.random(1000))
    assert len(set(chosen.tolist())) == 100
    for first in (0, 1):
        of = strata[:, 0] == first
        assert abs((strata[chosen, 0] == first).sum() - of.sum() / 10) <= 1
        for second in range(3):
            both = of & (strata[:, 1] == second)
            assert abs((both[chosen]).sum() - both.sum() / 10) <= 1


def test_all_are_taken_where_there_are_no_more():
    assert in_proportion(np.zeros((3, 1), dtype=np.int64), 5, np.zeros(3)).tolist() == [0, 1, 2]
    assert in_proportion(np.zeros((0, 1), dtype=np.int64), 5, np.zeros(0)).tolist() == []


def test_thirds_are_by_rank():
    assert thirds(np.array([5.0, 1.0, 9.0, 2.0, 7.0, 3.0])).tolist() == [1, 0, 2, 0, 2, 1]
