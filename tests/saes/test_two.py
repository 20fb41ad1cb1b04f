import pytest

from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.saes.settings import SAESettings
from sae_match.saes.two import TwoCollections, collections_of, end_file, end_name, ends_of, layer_of, pair_name

ONE, OTHER = {"width": "10", "l0": 5}, {"width": "12", "l0": 5}


def collection(source, *layers, which=ONE, **given):
    return SAECollection("gemma_scope", str(source), layers=dict.fromkeys(layers, which), **given)


def two(first=(3, 4), second=(4, 5)):
    return TwoCollections(collection("a/saes", *first), collection("a/saes_seed_100", *second))


def test_ends_are_layers_in_one_collection_and_numbers_of_their_own_in_two():
    assert ends_of((3, 4), apart=False) == collection("a", 3, 4).ends((3, 4)) == (3, 4)
    source, target = ends_of((3, 3), apart=True)
    assert two().ends((3, 3)) == (source, target)
    assert (layer_of(source), layer_of(target)) == (3, 3)
    assert len({3, source, target, *ends_of((4, 4), apart=True)}) == 5
    assert layer_of(7) == 7


def test_files_and_ends_are_called_by_layer_and_collection():
    assert pair_name((3, 4)) == "L03-L04"
    assert [end_file(end) for end in (3, 12)] == ["L03", "L12"]
    assert [end_file(end, two().names) for end in ends_of((3, 4), True)] == ["L03@saes", "L04@saes_seed_100"]
    assert pair_name((3, 4), two().names) == "L03@saes-L04@saes_seed_100"
    assert [two().end_name(end) for end in two().ends((3, 4))] == ["3@saes", "4@saes_seed_100"]
    assert end_name(3) == collection("a", 3).end_name(3) == "3"


def test_an_end_is_opened_in_its_own_collection(tmp_path, make_sae):
    made = {folder: make_sae(seed) for seed, folder in enumerate(("a", "b"))}
    for folder, sae in made.items():
        gemma_scope.save(sae, tmp_path / folder, layer=3, width="10", l0=5)
    both = TwoCollections(collection(tmp_path / "a", 3), collection(tmp_path / "b", 3))
    ends = both.ends((3, 3))
    assert [both.open(end).content_hash() for end in ends] == [sae.content_hash() for sae in made.values()]
    assert [both.describe(end).split()[0] for end in ends] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [len(both.files(end)) for end in ends] == [1, 1]


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (("x/saes", ONE), ("x/saes_b", ONE), ("saes", "saes_b")),
        (("x/saes", ONE), ("y/saes", ONE), ("x_saes", "y_saes")),
        (("org/res", ONE), ("org/res", OTHER), ("res_10", "res_12")),
        (("org/a@b c", ONE), ("d", ONE), ("a_b_c", "d")),
        (("x/Run", ONE), ("y/run", ONE), ("x_Run", "y_run")),
        (("org/res", {"path": "a" * 50}), ("org/res", {"path": "b" * 50}), ("res_source", "res_target")),
    ],
)
def test_names_are_the_ends_of_sources_and_more_of_them_where_those_agree(first, second, names):
    both = TwoCollections(*(collection(source, 3, which=which) for source, which in (first, second)))
    assert both.names == names


def test_where_nothing_short_tells_them_apart_the_sides_do():
    layers = {3: {"width": "10", "l0": 5}, 4: {"width": "10", "l0": 6}}
    others = {3: {"width": "10", "l0": 7}, 4: {"width": "10", "l0": 8}}
    both = TwoCollections(*(SAECollection("gemma_scope", "org/res", layers=which) for which in (layers, others)))
    assert both.names == ("res_source", "res_target")
    named = TwoCollections(both.sources, SAECollection("gemma_scope", "org/res", layers=others, name="sparser"))
    assert named.names == ("res", "sparser")


def test_layers_are_paired_by_number_and_the_others_are_said():
    assert two().same_layers() == [(4, 4)]
    assert two().left_out([(4, 4)]) == "layer 3 of saes, layer 5 of saes_seed_100"
    assert two().left_out([(3, 4), (4, 5)]) == ""
    assert two().all_pairs() == [(3, 4), (3, 5), (4, 4), (4, 5)]
    assert two(first=(3,), second=(3,)).same_layers() == [(3, 3)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: two(second=(7,)).same_layers(), r"no layer .* both .*layers 3, 4 in a/saes, layer 7 in .*pairs=\[\["),
        (lambda: two().refuse_unknown((5, 4)), "^sae: no SAE for layer 5 in a/saes; layers with one: 3, 4"),
        (lambda: two().refuse_unknown((3, 3)), "^target: no SAE for layer 3 in a/saes_seed_100; .*: 4, 5"),
        (lambda: TwoCollections(collection("a", 3), collection("a", 3)), "same collection, a, .* leave target out"),
        (lambda: TwoCollections(collection("a", 3), collection("./a", 3, name="b")), "the same collection"),
        (
            lambda: TwoCollections(collection("a", 3), collection("b", 3, site="mlp")),
            "source's SAEs read the site residual, the target's mlp: .*sae.site and target.site",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_settings_give_one_collection_or_two():
    given = SAESettings("gemma_scope", "a", layers={"3": ONE})
    assert collections_of(given, None) == SAECollection.of(given)
    both = collections_of(given, SAESettings("gemma_scope", "b", layers={"3": ONE}, name="mine"))
    assert both.names == ("a", "mine")
    with pytest.raises(UserError, match=r"sae.name must be .* got 'a/b'"):
        SAESettings("gemma_scope", "a", name="a/b")
