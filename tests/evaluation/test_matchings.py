import dataclasses
import weakref

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sae_match import significance
from sae_match.errors import UserError
from sae_match.evaluation.arm_names import ARMS, COACTIVATION, MATCHED, MATCHED_MAPPED, MATCHED_UNFOLDED, MATCHING_ARMS
from sae_match.evaluation.matchings import PairMatcher, fold_of
from sae_match.evaluation.passes.text import ValidationText
from sae_match.evaluation.scope import Surroundings
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.validation import MatchValidation
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import unwatched
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.collection import SAECollection
from tests.evaluation.naive import Parameters, costs
from tests.evaluation.validating import saved, text_of, trainer

QUANTILES = ["quantile_0", "quantile_0.25", "quantile_1"]
PAIRS = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


class WatchedCollection(SAECollection):
    """Notes how many of the SAEs that it opened are alive at one time."""

    def open(self, layer):
        sae = super().open(layer)
        self.alive = [one for one in self.__dict__.get("alive", []) if one() is not None] + [weakref.ref(sae)]
        self.most = max(self.__dict__.get("most", 0), len(self.alive))
        return sae


@pytest.fixture
def collection(make_sae, tmp_path):
    kept = saved({layer: make_sae(layer) for layer in range(4)}, tmp_path / "saes")
    return WatchedCollection(kept.format, kept.source, layers=kept.layers)


def matcher(collection, folder, arms=(*ARMS, *QUANTILES), seed=0, rotations=0, alpha=0.05, **changes):
    cache, told = MatchingCache(folder / "cache"), {"rotations": rotations, "alpha": alpha}
    return PairMatcher(collection, MatcherSettings(**changes), cache, arms, seed, unwatched, **told)


def cosine(one, other):
    return float(one @ other) / float(one.norm() * other.norm())


def test_at_most_two_saes_are_open_at_a_time(collection, tmp_path):
    one = matcher(collection, tmp_path)
    assert [pair for pair, _ in one.all_of(PAIRS)] == [(0, 1), (1, 2), (0, 2), (2, 3), (1, 3), (0, 3)]
    assert collection.most == 2
    del one
    assert all(reference() is None for reference in collection.alive)


def test_every_arm_has_its_matching_and_neighbours_are_not_composed(collection, tmp_path):
    for pair, found in matcher(collection, tmp_path).all_of(PAIRS):
        expected = (
            set(MATCHING_ARMS) - {COACTIVATION, MATCHED_MAPPED} - ({"composed"} if pair[1] - pair[0] == 1 else set())
        )
        assert set(found.matchings) == set(found.transports) == expected
        for arm, transport in found.transports.items():
            assert torch.equal(transport.permutation, found.matchings[arm].permutation)


def test_matchings_are_the_cheapest_and_the_nearest_by_brute_force(collection, tmp_path):
    for pair, found in matcher(collection, tmp_path).all_of(PAIRS):
        source, target = (Parameters.of(collection.open(layer)) for layer in pair)
        for arm, cost in (
            (MATCHED, costs(source.folded, target.folded)),
            (MATCHED_UNFOLDED, costs(source, target)),
        ):
            assert (found.matchings[arm].permutation.numpy() == linear_sum_assignment(cost)[1]).all()
        nearest = costs(source.folded, target.folded).argmin(1)
        assert (found.matchings["nearest"].permutation.numpy() == nearest).all()
        assert found.matchings["identity"].permutation.tolist() == list(range(10))


def test_composed_is_the_chain_of_neighbours_with_its_own_cost(collection, tmp_path):
    found = dict(matcher(collection, tmp_path).all_of(PAIRS))
    first, second, third = (found[pair].matchings[MATCHED].permutation for pair in ((0, 1), (1, 2), (2, 3)))
    composed = found[0, 3].matchings["composed"]
    assert torch.equal(composed.permutation, third[second[first]])
    assert torch.equal(found[1, 3].matchings["composed"].permutation, third[second])
    source, target = (Parameters.of(collection.open(layer)).folded for layer in (0, 3))
    of_pairs = costs(source, target)[np.arange(10), composed.permutation.numpy()]
    assert composed.pair_cost.numpy() == pytest.approx(of_pairs, rel=1e-6)


def test_cosines_are_those_of_each_pair_of_vectors(collection, tmp_path):
    ((pair, found),) = matcher(collection, tmp_path).all_of([(1, 2)])
    source, target = (collection.open(layer) for layer in pair)
    for i, j in enumerate(found.matchings[MATCHED].permutation.tolist()):
        assert float(found.encoder_cosine[i]) == pytest.approx(cosine(source.W_enc[:, i], target.W_enc[:, j]), abs=1e-6)
        assert float(found.decoder_cosine[i]) == pytest.approx(cosine(source.W_dec[i], target.W_dec[j]), abs=1e-6)


def test_the_cheap_features_are_the_quantile_of_all_pairs(collection, tmp_path):
    ((_, found),) = matcher(collection, tmp_path, QUANTILES).all_of([(0, 1)])
    order = found.matchings[MATCHED].pair_cost.argsort().tolist()
    assert {arm: set(mask.nonzero()[:, 0].tolist()) for arm, mask in found.cheap.items()} == {
        "quantile_0": set(),
        "quantile_0.25": set(order[:2]),
        "quantile_1": set(order),
    }


def test_judged_pairs_are_those_of_the_matching_by_itself(collection, tmp_path):
    one = matcher(collection, tmp_path, rotations=2, alpha=0.4)
    for pair, found in one.all_of(PAIRS):
        expected = significance(*(collection.open(layer) for layer in pair), found.matchings[MATCHED], rotations=2)
        assert torch.equal(found.judged.significance.q, expected.q)
        assert found.significant.tolist() == [q <= 0.4 for q in expected.q.tolist()]


def test_nothing_is_judged_without_random_targets_or_without_matched(collection, tmp_path):
    for one in (matcher(collection, tmp_path), matcher(collection, tmp_path, arms=["nearest"], rotations=2)):
        for _, found in one.all_of(PAIRS[:1]):
            assert (found.judged, found.significant) == (None, None)


def test_where_pairs_cannot_be_judged_none_counts_as_significant_and_it_is_said(make_sae, tmp_path, caplog):
    sae = make_sae(0, d_sae=1)
    kept = saved(dict.fromkeys((0, 1), sae), tmp_path / "saes")
    ((_, found),) = matcher(kept, tmp_path, arms=["matched", "swapped_significant"], rotations=2).all_of([(0, 1)])
    assert found.judged is None
    assert found.significant.tolist() == [False]
    assert caplog.messages[-1] == "layers 0 and 1: no pair counts as significant for swapped_significant"


def test_two_ranks_solve_each_pair_once_and_find_the_same(collection, tmp_path):
    def solved():
        return {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cache").glob("*.safetensors")}

    first = dict(matcher(collection, tmp_path).all_of(PAIRS, rank=0, processes=2))
    files = solved()
    assert len(files) == 2 * len(PAIRS)
    second = dict(matcher(collection, tmp_path).all_of(PAIRS, rank=1, processes=2))
    assert solved() == files
    for pair, found in first.items():
        for arm, matching in found.matchings.items():
            assert torch.equal(matching.permutation, second[pair].matchings[arm].permutation)


def test_matched_is_judged_where_that_is_asked_and_ranks_share_it_out(collection, tmp_path):
    def judged(rank, processes):
        cache = MatchingCache(tmp_path / "cache")
        one = PairMatcher(collection, MatcherSettings(), cache, [MATCHED, "random"], 0, unwatched, rotations=2)
        return {pair: found.judged.significance for pair, found in one.all_of(PAIRS, rank, processes)}

    first = judged(0, 2)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    # For each pair of layers its matching, two random targets, and two matchings by parts.
    assert len(files) == 5 * len(PAIRS)
    for again in (judged(1, 2), judged(0, 1)):
        assert all(torch.equal(first[pair].q, found.q) for pair, found in again.items())
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()} == files
    pair = (1, 2)
    source, target = (collection.open(layer) for layer in pair)
    assert torch.equal(first[pair].q, significance(source, target, first[pair].matching, rotations=2).q)


def test_pairs_that_are_matched_at_one_time_are_matched_and_judged_the_same(collection, tmp_path, monkeypatch):
    def found(name):
        return dict(matcher(collection, tmp_path / name, [MATCHED, MATCHED_UNFOLDED], rotations=2).all_of(PAIRS))

    expected = found("one")
    monkeypatch.setattr(PairMatcher, "_at_one_time", lambda _self, _pairs: 3)
    for pair, matched in found("three").items():
        for arm, matching in matched.matchings.items():
            assert torch.equal(matching.permutation, expected[pair].matchings[arm].permutation)
        assert torch.equal(matched.judged.significance.q, expected[pair].judged.significance.q)
        assert torch.equal(matched.significant, expected[pair].significant)


def test_nothing_is_judged_unless_it_is_asked_and_there_is_something_to_judge(collection, tmp_path):
    for arms, rotations in (([MATCHED], 0), (["random"], 2)):
        cache = MatchingCache(tmp_path / "cache")
        one = PairMatcher(collection, MatcherSettings(), cache, arms, 0, unwatched, rotations=rotations)
        assert all(found.judged is None for _, found in one.all_of(PAIRS))


def test_a_rank_solves_its_own_share_first(collection, tmp_path):
    shares = []
    for rank in (0, 1):
        one = matcher(collection, tmp_path / str(rank), [MATCHED])
        next(one.all_of(PAIRS, rank, processes=2))
        shares.append({file.name for file in (tmp_path / str(rank) / "cache").glob("*.safetensors")})
    # Rank 0 has its three and yields the first of them; rank 1 solves that one too, with nobody else there.
    assert (len(shares[0]), len(shares[1]), len(shares[0] | shares[1])) == (3, 4, 6)


def test_random_follows_the_seed_and_differs_between_layers(collection, tmp_path):
    def drawn(seed):
        found = matcher(collection, tmp_path, ["random"], seed).all_of([(0, 1), (1, 2)])
        return [one.matchings["random"].permutation.tolist() for _, one in found]

    assert drawn(0) == drawn(0)
    assert drawn(0)[0] != drawn(0)[1]
    assert drawn(0)[0] != drawn(5)[0]


def test_baselines_stay_folded_under_an_unfolded_matcher(make_sae):
    unfolded = MatcherSettings(fold="none")
    assert [fold_of(arm, unfolded, make_sae(0)) for arm in (MATCHED, "composed", "identity", "nearest")] == [
        "none",
        "none",
        "threshold",
        "threshold",
    ]
    relu = dataclasses.replace(make_sae(0), threshold=None, activation="relu")
    assert fold_of("random", unfolded, relu) == "decoder_norm"
    assert fold_of(MATCHED_UNFOLDED, MatcherSettings(), make_sae(0)) == "none"


def test_values_are_carried_as_they_are_asked_to_be_and_matched_as_before(collection, tmp_path):
    def found(carry):
        one = matcher(collection, tmp_path, [MATCHED, MATCHED_UNFOLDED, "random"])
        one.carry = carry
        ((_, matchings),) = one.all_of([(0, 1)])
        return matchings

    usual, plain = found(None), found("none")
    for arm in (MATCHED, MATCHED_UNFOLDED, "random"):
        assert torch.equal(usual.matchings[arm].permutation, plain.matchings[arm].permutation)
        assert torch.equal(plain.transports[arm].factor, torch.ones(10))
    source, target = collection.open(0), collection.open(1)
    partner = usual.matchings[MATCHED].permutation
    assert torch.allclose(usual.transports[MATCHED].factor, target.threshold[partner] / source.threshold)
    by_norm = found("decoder_norm").transports
    norms = source.W_dec.norm(dim=1) / target.W_dec.norm(dim=1)[partner]
    assert torch.allclose(by_norm[MATCHED].factor, norms)
    # Unfolded is what it says, whatever is asked for.
    assert torch.equal(by_norm[MATCHED_UNFOLDED].factor, torch.ones(10))


def test_widths_that_differ_are_refused(make_sae, tmp_path):
    wrong = saved({0: make_sae(0), 1: make_sae(1, d_sae=12)}, tmp_path / "saes")
    with pytest.raises(UserError, match="layers 0 and 1: the source has 10 features and the target 12"):
        list(matcher(wrong, tmp_path).all_of([(0, 1)]))


class MatchedError(Exception):
    """Raised where the text would be read."""


class OnlyMatched(MatchValidation):
    def on_validation_start(self):
        raise MatchedError


def test_a_validation_has_two_saes_open_while_it_matches(bundled_model, make_sae, tmp_path):
    kept = saved({layer: make_sae(layer, d_in=128, d_sae=12) for layer in range(6)}, tmp_path / "saes")
    collection = WatchedCollection(kept.format, kept.source, layers=kept.layers)
    # Each pair is of two layers that the last did not have.
    settings = EvaluationSettings(arms=[MATCHED], spans=[2])
    cache = MatchingCache(tmp_path / "cache")
    module = OnlyMatched(bundled_model[0], collection, MatcherSettings(), settings, Surroundings(cache, tmp_path))
    with pytest.raises(MatchedError):
        trainer(tmp_path).validate(module, ValidationText(text_of(bundled_model[1])), verbose=False)
    assert collection.most == 2
