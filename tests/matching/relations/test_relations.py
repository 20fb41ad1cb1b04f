from dataclasses import replace

import pytest
import torch

from sae_match import SAE, Matching, compose, match, relations, significance
from sae_match.benchmark.relations.planted import Fates, planted_relations
from sae_match.errors import UserError
from sae_match.matching.relations.kinds import APPEAR, END, KINDS, MERGE, NOT_TESTED, ONE_TO_ONE, SPLIT
from sae_match.matching.relations.result import Relations
from sae_match.matching.relations.whitening import SHRINKAGE
from sae_match.matching.significance.nulls import NullTargets, rotation_seeds
from tests.conftest import random_sae


@pytest.fixture(scope="module")
def planted():
    return planted_relations(Fates.of(0.9, 256), 64, 0)


@pytest.fixture(scope="module")
def related(planted) -> Relations:
    matching = match(planted.source, planted.target)
    return relations(planted.source, planted.target, matching, significance(planted.source, planted.target, matching))


def naively_white(source, target):
    """Whitened statistics of all pairs, with the inverse of the second moment that both dictionaries share."""
    inverses = []
    for parts in ((source.W_enc.T, target.W_enc.T), (source.W_dec, target.W_dec)):
        unit = [torch.nn.functional.normalize(part.double(), dim=1) for part in parts]
        second = sum(rows.T @ rows / len(rows) for rows in unit) / 2
        inverses.append(torch.linalg.inv(second + SHRINKAGE * second.trace() / len(second) * torch.eye(len(second))))

    def near(left, right):
        found = []
        for inverse, x, y in zip(inverses, (left.W_enc.T, left.W_dec), (right.W_enc.T, right.W_dec), strict=True):
            lengths = [((rows.double() @ inverse) * rows).sum(1).sqrt() for rows in (x, y)]
            found.append(x.double() @ inverse @ y.double().T / torch.outer(*lengths))
        return sum(found) / 2

    return near


def test_edges_are_those_of_a_naive_reading_of_the_definition(planted, related):
    """All pairs, all random targets, whole sorted lists: nothing of the blocks, nothing of the shared functions."""
    source, target = planted.source, planted.target
    near = naively_white(source, target)
    values = near(source, target)
    columns = torch.ones(target.d_sae, dtype=torch.bool)
    turned = [NullTargets((target,), "second_moment", (columns,)).draw(seed)[0] for seed in rotation_seeds(0, 8)]
    chance = [near(source, sae) for sae in turned]
    asked = []
    for dim, observed in ((1, values), (0, values)):
        null = torch.cat([each.amax(dim) for each in chance])
        for feature, best in enumerate(observed.amax(dim).tolist()):
            partner = int(observed[feature].argmax()) if dim else int(observed[:, feature].argmax())
            pair = (feature, partner) if dim else (partner, feature)
            asked.append(((1 + int((null >= best).sum())) / (1 + len(null)), pair))
    asked.sort()
    significant = max((k for k, (p, _) in enumerate(asked, 1) if p * len(asked) / k <= 0.05), default=0)
    expected = sorted({pair for _, pair in asked[:significant]})
    assert list(zip(related.edges.source.tolist(), related.edges.target.tolist(), strict=True)) == expected
    assert len(expected) > 100


def test_planted_kinds_are_found(planted, related):
    true = torch.cat([planted.source_kind, planted.target_kind])
    called = torch.cat([related.source_kind, related.target_kind])
    assert float((called == true).double().mean()) >= 0.9
    assert float((called != true)[called < APPEAR].double().mean()) <= 0.06
    for kind in (ONE_TO_ONE, SPLIT, MERGE, APPEAR, END):
        assert int(((true == kind) & (called == kind)).sum()) > 0


def test_weak_relatives_are_found_in_crowded_dictionaries():
    planted = planted_relations(Fates.of(0.6, 512, crowding=0.35), 128, 0)
    matching = match(planted.source, planted.target)
    found = relations(planted.source, planted.target, matching, significance(planted.source, planted.target, matching))
    called = torch.cat([found.source_kind, found.target_kind])
    true = torch.cat([planted.source_kind, planted.target_kind])
    assert float((called == true).double().mean()) >= 0.9
    assert float((called != true)[called < APPEAR].double().mean()) <= 0.06


def test_children_of_a_split_have_their_parent_in_the_edges(planted, related):
    of_split = related.edge_kind == SPLIT
    family = planted.source_family[related.edges.source], planted.target_family[related.edges.target]
    assert float((family[0] == family[1])[of_split].double().mean()) > 0.9
    # One to one, a matching gives one child a partner at most.
    component = related.edge_component[of_split]
    matched = torch.zeros(int(component.max()) + 1).index_add_(0, component, related.edges.matched[of_split].float())
    assert int(matched.max()) == 1
    assert int(of_split.sum()) > 2 * len(component.unique())


def test_without_relatives_nothing_is_related():
    planted = planted_relations(Fates.unrelated(256), 64, 1)
    matching = match(planted.source, planted.target)
    found = relations(planted.source, planted.target, matching, significance(planted.source, planted.target, matching))
    assert len(found.edges) <= 2
    assert found.counts["appear"] >= 254


def test_a_dictionary_is_one_to_one_with_itself(make_sae):
    sae = make_sae(0, 16, 64)
    matching = match(sae, sae)
    found = relations(sae, sae, matching, significance(sae, sae, matching))
    assert found.counts == {"one to one": 64, **dict.fromkeys(KINDS[1:], 0)}
    assert torch.allclose(found.edges.statistic, torch.ones(64, dtype=torch.float64))
    assert found.edges.matched.all()
    assert found.edges.nearest_of_source.all()
    assert found.edges.nearest_of_target.all()


def test_the_other_way_round_splits_are_merges(planted, related):
    matching = match(planted.target, planted.source)
    back = relations(planted.target, planted.source, matching, significance(planted.target, planted.source, matching))
    # Random dictionaries are others, so that a few edges may be.
    assert abs(back.counts["merge"] - related.counts["split"]) <= 2
    assert abs(back.counts["split"] - related.counts["merge"]) <= 2


def test_dead_features_are_not_tested():
    planted = planted_relations(Fates.of(0.9, 128), 32, 0)
    W_dec = planted.source.W_dec.clone()
    W_dec[:10] = 0
    source = replace(planted.source, W_dec=W_dec)
    alive = torch.arange(source.d_sae) >= 10
    matching = match(source, planted.target, source_mask=alive)
    judged = significance(source, planted.target, matching, source_mask=alive)
    found = relations(source, planted.target, matching, judged, source_mask=alive)
    assert (found.source_kind[:10] == NOT_TESTED).all()
    assert (found.source_kind[10:] != NOT_TESTED).all()
    assert found.counts["not tested"] == 10
    assert (found.edges.source >= 10).all()


def test_components_are_ranked_by_size_and_by_their_weakest_edge(related):
    largest = related.largest(SPLIT, 5)
    assert (related.components.kind[largest] == SPLIT).all()
    assert related.sizes[largest].tolist() == sorted(related.sizes[largest].tolist(), reverse=True)
    weakest = [
        min(
            s for s, c in zip(related.edges.whitened.tolist(), related.edge_component.tolist(), strict=True) if c == one
        )
        for one in related.surest(SPLIT, 5).tolist()
    ]
    assert weakest == sorted(weakest, reverse=True)


def test_what_is_too_large_to_draw_is_told_of_and_left_out(related):
    large = related.too_large(most=3)
    assert (related.sizes[large] > 3).all()
    assert len(large) == int((related.sizes > 3).sum())
    assert not set(large.tolist()) & set(related.largest(SPLIT, 100, most=3).tolist())
    assert not set(large.tolist()) & set(related.surest(SPLIT, 100, most=3).tolist())
    assert len(related.too_large()) == 0


def test_a_file_holds_all_of_it(related, tmp_path):
    related.save(tmp_path / "relations.safetensors")
    back = Relations.load(tmp_path / "relations.safetensors")
    assert back.evidence == related.evidence
    assert back.counts == related.counts
    for name in ("source", "target", "statistic", "p", "q", "nearest_of_source", "nearest_of_target", "matched"):
        assert torch.equal(getattr(back.edges, name), getattr(related.edges, name))
    assert torch.equal(back.source_kind, related.source_kind)
    assert "one to one" in repr(back)


def test_another_file_is_refused(tmp_path):
    Matching(torch.arange(3), torch.zeros(3, dtype=torch.float64)).save(tmp_path / "matching.safetensors")
    with pytest.raises(UserError, match="is not a sound relations file: it has no tensor source"):
        Relations.load(tmp_path / "matching.safetensors")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("target", lambda old: old + 10_000, "target must be among"),
        ("source", lambda old: old - 10_000, "source must be among"),
        ("source", lambda old: old[1:], r"target must be torch.int64 \[\d+\], got torch.int64 \[\d+\]"),
        ("q", lambda old: old.float(), r"q must be torch.float64 \[\d+\], got torch.float32"),
        ("matched", lambda old: old.long(), r"matched must be torch.bool \[\d+\], got torch.int64"),
        ("source", lambda old: old[0], "source must be torch.int64"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_a_file_whose_edges_cannot_be_is_refused(related, tmp_path, name, change, message):
    changed = replace(related.edges, **{name: change(getattr(related.edges, name))})
    replace(related, edges=changed).save(tmp_path / "relations.safetensors")
    with pytest.raises(UserError, match=message):
        Relations.load(tmp_path / "relations.safetensors")


def test_impossible_requests_are_refused(planted):
    source, target = planted.source, planted.target
    matching = match(source, target)
    judged = significance(source, target, matching, rotations=1)
    with pytest.raises(UserError, match="alpha must lie between 0 and 1"):
        relations(source, target, matching, judged, alpha=1.0)
    with pytest.raises(UserError, match="the significance is of another matching"):
        relations(source, target, judged.significant(0.05), judged)
    chain = compose(matching, match(target, target))
    with pytest.raises(UserError, match="direct matching of these, not with a composed one"):
        relations(source, target, chain, replace(judged, matching=chain))
    dead = SAE(source.W_enc, source.b_enc, torch.zeros_like(source.W_dec), source.b_dec, source.threshold)
    with pytest.raises(UserError, match="content hash"):
        relations(dead, target, matching, judged)


def test_a_side_without_directions_is_refused():
    source, target = random_sae(0, 6, 10), random_sae(1, 6, 10)
    matching = match(source, target)
    judged = significance(source, target, matching, rotations=1)
    unknown = Matching(matching.permutation, matching.pair_cost, provenance={"solver": "identity"})
    dead = replace(target, W_dec=torch.zeros_like(target.W_dec))
    with pytest.raises(UserError, match="none of the target's 10 features takes part"):
        relations(source, dead, unknown, replace(judged, matching=unknown))


def test_one_feature_of_next_to_no_length_makes_nobody_a_relative():
    planted = planted_relations(Fates.of(0.8, 200), 64, 0)
    W_enc = planted.source.W_enc.clone()
    W_enc[:, 3] *= 1e-30
    found = []
    for source in (planted.source, replace(planted.source, W_enc=W_enc)):
        matching = match(source, planted.target)
        judged = significance(source, planted.target, matching, rotations=2)
        found.append(relations(source, planted.target, matching, judged))
    assert all(after.counts[kind] > 20 for after in found for kind in ("appear", "end"))
    assert (found[0].source_kind != found[1].source_kind).sum() <= 4
