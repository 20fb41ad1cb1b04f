import torch

from sae_match.matching.relations import chance
from sae_match.matching.relations.chance import drawn, nearest_by_chance
from sae_match.matching.relations.nearest import nearest_of_both
from sae_match.matching.significance.nulls import NullTargets, rotation_seeds
from tests.conftest import random_sae


def by_chance(source, target, rotations=3):
    rows, columns = (torch.ones(sae.d_sae, dtype=torch.bool) for sae in (source, target))
    return nearest_by_chance(
        source, target, rows, columns, null="second_moment", rotations=rotations, seed=0, statistic="mean"
    )


def test_chance_is_the_nearest_in_random_targets():
    source, target = random_sae(0, 6, 40), random_sae(1, 6, 30)
    rows, columns = (torch.ones(sae.d_sae, dtype=torch.bool) for sae in (source, target))
    expected = [
        nearest_of_both(
            source, NullTargets((target,), "second_moment", (columns,)).draw(seed)[0], rows, columns, "mean"
        )
        for seed in rotation_seeds(0, 3)
    ]
    found = by_chance(source, target)
    assert torch.allclose(found.source, torch.cat([each.source_statistic for each in expected]), atol=1e-6)
    assert torch.allclose(found.target, torch.cat([each.target_statistic for each in expected]), atol=1e-6)


def test_the_narrower_side_is_the_random_one_whichever_it_is():
    narrow, wide = random_sae(0, 6, 20), random_sae(1, 6, 50)
    found, mirrored = by_chance(narrow, wide), by_chance(wide, narrow)
    assert torch.equal(found.source, mirrored.target)
    assert torch.equal(found.target, mirrored.source)
    assert (len(found.source), len(found.target)) == (60, 150)


def test_many_pairs_are_judged_by_a_sample_of_the_same_null(monkeypatch):
    source, target = random_sae(0, 6, 64), random_sae(1, 6, 48)
    whole = by_chance(source, target, rotations=4)
    monkeypatch.setattr(chance, "ALL_DRAWN", 100)
    some = by_chance(source, target, rotations=4)
    assert (len(some.source), len(some.target)) == (64 // 8, 48 // 8)
    # Whoever looks finds what it finds when all look: the nearest of one feature has nothing to do with others.
    for sampled, all_of in ((some.source, whole.source), (some.target, whole.target)):
        assert (torch.cdist(sampled[:, None], all_of[:, None]).amin(1) < 1e-6).all()


def test_of_many_pairs_there_is_one_random_dictionary(monkeypatch):
    rows, columns = torch.ones(64, dtype=torch.bool), torch.ones(48, dtype=torch.bool)
    assert drawn(8, rows, columns) == 8
    monkeypatch.setattr(chance, "ALL_DRAWN", 64 * 48 - 1)
    assert drawn(8, rows, columns) == 1
    columns[0] = False
    assert drawn(8, rows, columns) == 8
