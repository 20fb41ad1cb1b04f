import csv
from dataclasses import replace

import pytest
import torch

from sae_match import SAECollection, match, match_collections
from sae_match.errors import UserError
from sae_match.matching.between import save_unmatched
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import LayerMatcher, save_matching
from sae_match.matching.result import Matching
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.formats import gemma_scope, sae_lens
from sae_match.saes.two import TwoCollections


def collection(folder, saes):
    for layer, sae in saes.items():
        gemma_scope.save(sae, folder, layer=layer, width=str(sae.d_sae), l0=5)
    which = {layer: {"width": str(sae.d_sae), "l0": 5} for layer, sae in saes.items()}
    return SAECollection("gemma_scope", str(folder), layers=which)


def shuffled(sae, order):
    """The same features in another order."""
    return replace(
        sae, W_enc=sae.W_enc[:, order], b_enc=sae.b_enc[order], W_dec=sae.W_dec[order], threshold=sae.threshold[order]
    )


@pytest.fixture
def saes(make_sae):
    return {layer: make_sae(layer) for layer in (3, 4)}


@pytest.fixture
def order():
    return torch.randperm(10, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def both(tmp_path, saes, order):
    again = {layer: shuffled(sae, order) for layer, sae in saes.items()}
    return collection(tmp_path / "a", saes), collection(tmp_path / "b", again)


def test_features_are_found_again_wherever_another_collection_has_them(both, order):
    found = match_collections(*both)
    assert list(found) == [(3, 3), (4, 4)]
    assert all(order[matching.permutation].equal(torch.arange(10)) for matching in found.values())
    assert all(matching.cost == pytest.approx(0, abs=1e-9) for matching in found.values())


def test_any_layers_can_be_paired_and_settings_are_those_of_match(both):
    found = match_collections(*both, pairs=[(4, 3), (3, 4)], fold="none")
    for (source, target), matching in found.items():
        assert matching.permutation.equal(match(both[0].open(source), both[1].open(target), fold="none").permutation)
    assert list(found) == [(3, 4), (4, 3)]


def test_widths_may_be_unlike_and_what_is_left_over_is_written(tmp_path, make_sae, saes):
    wide = {layer: make_sae(9 + layer, d_sae=14) for layer in saes}
    both = TwoCollections(collection(tmp_path / "a", saes), collection(tmp_path / "b", wide))
    found = match_collections(both.sources, both.targets)
    widths = {end: width for pair in found for end, width in zip(both.ends(pair), (10, 14), strict=True)}
    assert save_unmatched(found, widths, both, tmp_path / "unmatched.csv")
    with (tmp_path / "unmatched.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for pair, matching in found.items():
        own = [row for row in rows if (row["source_layer"], row["target_layer"]) == tuple(map(str, pair))]
        assert {row["side"] for row in own} == {"target"}
        assert {int(row["feature"]) for row in own} == set(range(14)) - set(matching.permutation.tolist())
    assert {(row["source_collection"], row["target_collection"]) for row in rows} == {("a", "b")}
    back = match_collections(both.targets, both.sources, pairs=[(3, 3)])[3, 3]
    assert int((back.permutation < 0).sum()) == 4


def test_formats_may_be_unlike(tmp_path, both, saes, order):
    for layer, sae in saes.items():
        place = {"model_name": "m", "hook_name": f"blocks.{layer}.hook_resid_post"}
        sae_lens.save(shuffled(sae, order), tmp_path / "lens" / str(layer), **place)
    lens = SAECollection("sae_lens", str(tmp_path / "lens"), layers={layer: {"path": str(layer)} for layer in saes})
    found = match_collections(both[0], lens)
    assert all(order[matching.permutation].equal(torch.arange(10)) for matching in found.values())


def test_nothing_is_written_where_all_widths_are_alike(tmp_path, both):
    found, two = match_collections(*both), TwoCollections(*both)
    widths = {end: 10 for pair in found for end in two.ends(pair)}
    assert not save_unmatched(found, widths, two, tmp_path / "unmatched.csv")
    assert not (tmp_path / "unmatched.csv").exists()


def test_a_saved_matching_says_of_which_collections_it_is(tmp_path, both):
    two = TwoCollections(*both)
    made = LayerMatcher(two, MatcherSettings(), MatchingCache(tmp_path / "cache"))
    file = save_matching(made.match((3, 3)), tmp_path / "run", (3, 3), two)
    assert file == tmp_path / "run" / "matchings" / "L03@a-L03@b.safetensors"
    provenance = Matching.load(file).provenance
    assert (provenance["source_collection"], provenance["target_collection"]) == ("a", "b")
    assert provenance["target_file"].startswith(f"{both[1].source} layer=3")


def test_an_sae_that_stands_in_both_collections_is_said_to_be_matched_with_itself(tmp_path, saes, both, caplog):
    copied = TwoCollections(both[0], collection(tmp_path / "copy", saes))
    LayerMatcher(copied, MatcherSettings(), MatchingCache(tmp_path / "cache")).match((3, 3))
    assert "layers 3 and 3 are the same SAE in both collections" in caplog.text


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], r"pairs=\[\] chooses no pair"),
        ([(3, 3), (3, 9)], "^target: no SAE for layer 9"),
        ([(9, 3)], "^sae: no SAE for layer 9"),
    ],
)
def test_pairs_that_name_missing_layers_are_refused(both, pairs, message):
    with pytest.raises(UserError, match=message):
        match_collections(*both, pairs=pairs)


def test_saes_of_models_of_unlike_width_are_refused_with_both_files(tmp_path, both, make_sae):
    other = collection(tmp_path / "other", {3: make_sae(0, d_in=7)})
    with pytest.raises(UserError, match=r"^layer 3@a \(.*a layer=3.*\) and layer 3@other \(.*\): .*width 6.*width 7"):
        match_collections(both[0], other)
