import pytest

from sae_match import Matching
from sae_match.errors import UserError
from sae_match.matching.cache import MatchingCache
from sae_match.matching.layers import LayerMatcher, by_target, save_matching
from sae_match.matching.settings import MatcherSettings
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope


@pytest.fixture
def collection(tmp_path, make_sae):
    for layer in range(4):
        gemma_scope.save(make_sae(layer), tmp_path / "saes", layer=layer, width="10", l0=5)
    which = {layer: {"width": "10", "l0": 5} for layer in range(4)}
    return SAECollection("gemma_scope", str(tmp_path / "saes"), layers=which)


@pytest.fixture
def opened(monkeypatch):
    """Layers in the order in which they are opened."""
    layers, original = [], SAECollection.open

    def recorded(self, layer):
        layers.append(layer)
        return original(self, layer)

    monkeypatch.setattr(SAECollection, "open", recorded)
    return layers


def matcher(collection, tmp_path, **settings):
    watched = []
    made = LayerMatcher(
        collection,
        MatcherSettings(**settings),
        MatchingCache(tmp_path / "cache"),
        lambda pair, status: watched.append((pair, status.round)),
    )
    return made, watched


def test_pairs_by_target_begin_with_the_nearest_source(collection):
    assert by_target(collection.all_pairs()) == [(0, 1), (1, 2), (0, 2), (2, 3), (1, 3), (0, 3)]


def test_a_target_is_opened_once_and_two_saes_are_open_at_most(collection, tmp_path, opened):
    made, watched = matcher(collection, tmp_path)
    for pair in by_target(collection.all_pairs()):
        found = made.match(pair)
        assert made.priced(pair, found).cost == found.cost
        assert set(made._open) == set(pair)
    assert opened == [0, 1, 2, 0, 3, 1, 0]
    assert {pair for pair, _ in watched} == set(collection.all_pairs())


def test_a_solved_pair_is_not_solved_again(collection, tmp_path):
    first = matcher(collection, tmp_path)[0].match((0, 1))
    made, watched = matcher(collection, tmp_path)
    assert made.match((0, 1)).permutation.equal(first.permutation)
    assert watched == []


def test_a_pair_that_cannot_be_matched_names_its_layers_and_files(collection, tmp_path, make_sae):
    gemma_scope.save(make_sae(9, d_in=7), tmp_path / "saes", layer=2, width="10", l0=5)
    made, _ = matcher(collection, tmp_path)
    with pytest.raises(UserError, match=r"^layers 1 and 2: .*width 6.*width 7.*layer 1 is .*saes layer=1 .*'l0': 5"):
        made.match((1, 2))


def test_a_saved_matching_says_which_files_it_is_of(collection, tmp_path):
    made, _ = matcher(collection, tmp_path)
    file = save_matching(made.match((1, 3)), tmp_path / "run", (1, 3), collection)
    assert file == tmp_path / "run" / "matchings" / "L01-L03.safetensors"
    provenance = Matching.load(file).provenance
    assert provenance["source_file"] == f"{collection.source} layer=1 {{'width': '10', 'l0': 5}}"
    assert provenance["target_file"].endswith("layer=3 {'width': '10', 'l0': 5}")
