import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from sae_match.errors import UserError
from sae_match.report.explorer.chunks import COSINE_SCALE
from sae_match.report.explorer.data import Context
from sae_match.report.explorer.paths import in_chunks, path_numbers, paths
from sae_match.report.explorer.writing import write_explorer
from tests.report.explorer import made_up
from tests.report.explorer.made_up import DEAD, NASTY, SHIFTS, WIDTHS, explorer_data, received, unpacked
from tests.report.explorer.reader import data_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert write_explorer(explorer_data(), folder) == folder / "report.html"
    return folder


def test_the_index_names_layers_steps_and_chunks(folder):
    index = received(data_of(folder) / "index.js")
    assert index["title"] == "Model <i>one</i>"
    assert index["facts"] == [["Model", "one"], ["Text", NASTY]]
    assert [(of["layer"], of["features"], of["tokens"]) for of in index["layers"]] == [
        (layer, width, 1000) for layer, width in WIDTHS.items()
    ]
    assert [of["step"] for of in index["layers"]] == [True, True, True, False, False]
    assert index["chunks"] == [0]


@pytest.mark.parametrize("layer", WIDTHS)
def test_each_layer_is_found_in_its_chunk_again(folder, layer):
    width, packed = WIDTHS[layer], unpacked(data_of(folder) / f"layer-{layer}.js")
    assert np.frombuffer(packed, "<u4", width).tolist() == made_up.layer_data(layer).active.tolist()
    pairs = [pair for pair in SHIFTS if pair[0] == layer]
    if not pairs:
        assert len(packed) == 4 * width
        return
    step = made_up.step_data(*pairs[0])
    np.testing.assert_array_equal(np.frombuffer(packed, "<f4", width, 4 * width), step.cost.float())
    assert np.frombuffer(packed, "<i4", width, 8 * width).tolist() == step.permutation.tolist()
    stored = np.frombuffer(packed, "<i2", width, 12 * width)
    matched = step.permutation.numpy() >= 0
    np.testing.assert_allclose(stored[matched] / COSINE_SCALE, step.decoder_cosine[matched], atol=1 / COSINE_SCALE)
    assert (stored[~matched] == -32768).all()
    together = np.frombuffer(packed, "<u4", width, 14 * width + 2 * (width % 2))
    assert together.tolist() == step.both.tolist()
    assert len(packed) == 18 * width + 2 * (width % 2)


def test_every_feature_is_on_one_path_and_each_path_follows_the_matchings():
    found = paths(explorer_data())
    members = [member for path in found for member in path]
    assert sorted(members) == [
        (index, feature) for index, width in enumerate(WIDTHS.values()) for feature in range(width)
    ]
    layers = list(WIDTHS)
    for path in found:
        for (index, feature), (following, after) in pairwise(path):
            assert following == index + 1
            assert after == made_up.partner(layers[index], layers[following], feature)


def test_paths_are_numbered_by_where_they_begin():
    numbers = path_numbers(explorer_data())
    assert numbers[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert numbers[1].tolist() == [5, 0, 1, 2, 3, 4]
    # Feature 4 of layer 2 has no partner, so feature 4 of layer 4 begins a path; layer 5 follows on nothing.
    assert numbers[3].tolist() == [*numbers[2][:4].tolist(), 6, int(numbers[2][5])]
    assert numbers[4].tolist() == [7, 8, 9]


def test_paths_of_layers_of_different_width():
    steps = [
        dataclasses.replace(
            made_up.step_data(2, 4),
            source_layer=4,
            target_layer=5,
            permutation=torch.tensor([2, -1, 0, -1, 1, -1]),
        )
    ]
    numbers = path_numbers(explorer_data(steps=steps))
    assert numbers[4].tolist() == [numbers[3][2], numbers[3][4], numbers[3][0]]


def test_chunks_hold_whole_paths_in_order():
    members = paths(explorer_data())
    found = list(in_chunks(members, 5))
    assert [path for _, chunk in found for path in chunk] == members
    assert [start for start, _ in found] == list(np.cumsum([0, *(len(chunk) for _, chunk in found)]))[:-1]
    assert all(sum(map(len, chunk)) >= 5 for _, chunk in found[:-1])


def test_details_stand_in_the_chunk_of_their_path(folder):
    details = json.loads(unpacked(data_of(folder) / "paths-0.js"))
    layers = list(WIDTHS)
    for path, members in zip(details, paths(explorer_data()), strict=True):
        for (*known, evidence), (index, feature) in zip(path, members, strict=True):
            label, link, mean, encoder_cosine, both, contexts = known
            layer = layers[index]
            assert (label, link) == (made_up.label(layer, feature), made_up.link(layer, feature))
            assert mean == (None if (layer, feature) in DEAD else made_up.active(layer, feature) / 8)
            assert contexts == [
                [of.dataset, of.document, of.position, of.value, of.tokens] for of in made_up.contexts(layer, feature)
            ]
            # Nothing was judged.
            assert evidence is None
            if layer in (4, 5) or (layer, feature) == (2, 4):
                assert (encoder_cosine, both) == (None, None)
            else:
                assert encoder_cosine == pytest.approx(made_up.cosine(feature) - 0.125, abs=1e-6)
                assert both == 10 * feature


def test_of_judged_pairs_the_page_is_told_what_speaks_for_them(tmp_path):
    write_explorer(made_up.judged_data(), tmp_path)
    layer = unpacked(data_of(tmp_path) / "layer-0.js")
    assert np.frombuffer(layer, "<f4", 6, 12 * 6).tolist() == pytest.approx([made_up.q(0, f) for f in range(6)])
    assert np.frombuffer(layer, "<i2", 6, 16 * 6).tolist() == [round(made_up.cosine(f) * 32767) for f in range(6)]
    assert [one["judged"] for one in received(data_of(tmp_path) / "index.js")["layers"]] == [True] * 3 + [False] * 2
    details = json.loads(unpacked(data_of(tmp_path) / "paths-0.js"))
    for path, members in zip(details, paths(made_up.judged_data()), strict=True):
        for (*_, evidence), (index, feature) in zip(path, members, strict=True):
            layer = list(WIDTHS)[index]
            matched = layer not in (4, 5) and (layer, feature) != (2, 4)
            told = [made_up.cosine(feature), 0.25, 0.125, feature % 2, 1, 0]
            assert evidence == (pytest.approx(told, abs=1e-6) if matched else None)


def test_what_is_known_of_pairs_must_be_one_a_feature(tmp_path):
    data = made_up.judged_data()
    known = vars(data.steps[0].evidence)
    short = type(data.steps[0].evidence)(**{name: values[:5] for name, values in known.items()})
    steps = [dataclasses.replace(data.steps[0], evidence=short), *data.steps[1:]]
    with pytest.raises(UserError, match="5 values of q for 6 source features"):
        write_explorer(dataclasses.replace(data, steps=steps), tmp_path)


def test_what_features_fire_on_can_be_searched(folder):
    labels, fires_on = json.loads(unpacked(data_of(folder) / "labels-1.js"))
    assert labels == [made_up.label(1, feature) for feature in range(6)]
    assert fires_on == [*(f"mark1x{feature}" for feature in range(5)), ""]


def test_nothing_from_the_data_is_markup(folder):
    page = (folder / "report.html").read_text()
    assert "<title>Model &lt;i&gt;one&lt;/i&gt; " in page
    for file in (folder / "report" / "data").iterdir():
        assert "<" not in file.read_text()


def test_the_page_may_not_reach_a_network(folder):
    page = (folder / "report.html").read_text()
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_every_file_that_the_page_names_is_there(folder):
    page = (folder / "report.html").read_text()
    named = {part.split('"')[0] for part in page.split('"report/')[1:]}
    assert len(named) > 5
    assert all((folder / "report" / name).is_file() for name in named)
    assert {"LICENSE", "NOTICE", "VERSION"} <= {
        file.name for file in (folder / "report" / "vendor" / "echarts").iterdir()
    }


def test_a_new_explorer_replaces_the_old_one_and_what_a_killed_run_left(tmp_path):
    (tmp_path / ".report.killed").mkdir()
    write_explorer(explorer_data(), tmp_path)
    write_explorer(explorer_data(layers=[made_up.layer_data(0)], steps=[]), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"report.html", "report"}
    assert not (tmp_path / "report" / "data" / "layer-1.js").exists()


def test_what_fails_leaves_what_was_there(tmp_path):
    write_explorer(explorer_data(), tmp_path)
    before = (tmp_path / "report" / "data" / "index.js").read_text()

    def fails(_):
        raise UserError("no contexts")

    with pytest.raises(UserError, match="no contexts"):
        write_explorer(
            explorer_data(layers=[dataclasses.replace(made_up.layer_data(0), contexts=fails)], steps=[]), tmp_path
        )
    assert (tmp_path / "report" / "data" / "index.js").read_text() == before
    assert {file.name for file in tmp_path.iterdir()} == {"report.html", "report"}


def test_equal_data_gives_equal_files(folder, tmp_path):
    write_explorer(explorer_data(), tmp_path)
    for file in data_of(folder).iterdir():
        assert (data_of(tmp_path) / file.name).read_bytes() == file.read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the explorer to .*file"):
        write_explorer(explorer_data(), tmp_path / "file")


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda: {"layers": []}, "no layer to show"),
        (
            lambda: {"layers": [made_up.layer_data(1), made_up.layer_data(0)]},
            r"ascending order, each once, got \[1, 0\]",
        ),
        (
            lambda: {"layers": [dataclasses.replace(made_up.layer_data(0), labels=["one"])], "steps": []},
            "layer 0: 6 counts of active tokens, 6 mean activations and 1 labels",
        ),
        (
            lambda: {"steps": [dataclasses.replace(made_up.step_data(0, 1), target_layer=2)]},
            "from layer 0 to layer 2 does not join layers that follow each other",
        ),
        (lambda: {"steps": [made_up.step_data(0, 1)] * 2}, "from layer 0 to layer 1 is given twice"),
        (
            lambda: {"steps": [dataclasses.replace(made_up.step_data(0, 1), cost=torch.zeros(2).double())]},
            "2 values of cost for 6 source features",
        ),
        (
            lambda: {
                "steps": [dataclasses.replace(made_up.step_data(0, 1), permutation=torch.tensor([0, 1, 2, 3, 4, 9]))]
            },
            "feature 9 is beyond the 6 target features",
        ),
        (
            lambda: {
                "steps": [dataclasses.replace(made_up.step_data(0, 1), permutation=torch.tensor([0, 0, 2, 3, 4, -1]))]
            },
            "the matching is not one-to-one",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        write_explorer(explorer_data(**changes()), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"links": lambda _: "javascript:alert(1)"}, "feature 0 of layer 0: the link 'javascript:alert.* must start"),
        ({"contexts": lambda _: [Context(["a"], 1, 1.0, "prose", 0)]}, "a context of 1 tokens cannot mark token 1"),
    ],
)
def test_bad_details_are_refused(tmp_path, changes, message):
    layer = dataclasses.replace(made_up.layer_data(0), **changes)
    with pytest.raises(UserError, match=message):
        write_explorer(explorer_data(layers=[layer], steps=[]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_are_stored_as_nothing(tmp_path):
    context = Context([" a\ud800"], 0, math.inf, "prose", 0)
    layer = dataclasses.replace(made_up.layer_data(0), contexts=lambda _: [context])
    write_explorer(explorer_data(layers=[layer], steps=[]), tmp_path)
    ((*_, contexts, _),) = json.loads(unpacked(data_of(tmp_path) / "paths-0.js"))[0]
    assert contexts == [["prose", 0, 0, None, [" a?"]]]
