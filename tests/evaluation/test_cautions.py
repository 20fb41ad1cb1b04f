"""Each warning on numbers that call for it, and silence on good ones."""

import csv
from dataclasses import asdict

import pytest

from sae_match import bundled
from sae_match.evaluation.cautions import cautions_after, cautions_before, named_l0s, save_cautions
from sae_match.evaluation.check import check
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.evaluation.statistics.results import Result, Results
from sae_match.matching.settings import MatcherSettings
from sae_match.model.settings import ModelSettings
from sae_match.saes.collection import SAECollection
from sae_match.text.settings import SourceSettings, TextSettings

PAIRS = [(3, 4), (4, 5)]
NAMED = {3: 20.0, 4: 22.0, 5: 24.0}
SIDES = {"reconstruct_source": 0, "reconstruct_target": 1}
# Of a good run: by metric of a layer, and by arm and metric.
OF_LAYER = {"l0": 22.0, "largest_dimension": 0.2, "extreme_tokens": 0.0}
DEAD = {3: 0.02, 4: 0.1, 5: 0.0}
GOOD = {
    ("reconstruct_target", "delta_loss"): 0.3,
    ("reconstruct_target", "loss_recovered"): 0.9,
    ("reconstruct_target", "explained_variance"): 0.8,
    ("layer_drop", "delta_loss"): 0.5,
    ("layer_drop", "explained_variance"): 0.8,
    ("mean", "explained_variance"): -1e-9,
    ("matched", "explained_variance"): 0.5,
    ("matched", "loss_recovered"): 0.6,
    ("identity", "explained_variance"): -0.5,
    ("reconstruct_source", "loss_recovered"): -0.2,
    ("layer_drop", "loss_recovered"): -0.1,
    ("random", "loss_recovered"): -0.3,
    ("random", "explained_variance"): -0.5,
}


def results(changed=None, pairs=PAIRS, datasets=("prose", "code")):
    """A good run, with some numbers changed: everywhere, or where a longer key says."""
    changed, rows = changed or {}, []
    for pair in pairs:
        for dataset in datasets:
            for key, value in GOOD.items():
                shown = changed.get((*key, pair, dataset), changed.get(key, value))
                rows.append(Result(*pair, key[0], dataset, key[1], shown, None, None, 100, 5))
            for arm, side in SIDES.items():
                for metric, value in OF_LAYER.items():
                    shown = changed.get((metric, pair[side], dataset), changed.get(metric, value))
                    rows.append(Result(*pair, arm, dataset, metric, shown, None, None, 100, 5))
    return Results(rows)


def kinds(cautions):
    return [one.kind for one in cautions]


def only(cautions):
    (one,) = cautions
    return one


def test_a_good_run_gets_no_warning():
    assert cautions_after(results(), DEAD, NAMED) == []
    assert cautions_after(results(), DEAD, {}) == []
    assert cautions_before(NAMED, PAIRS) == []


# What is planted, the kind of the warning, and what it has to say.
PLANTED = [
    (
        {("largest_dimension", 4, "code"): 0.85},
        "one_dimension",
        ["layer 4", "85% in layer 4 on code", "explained_variance_by_dimension"],
    ),
    (
        {("extreme_tokens", 5, "prose"): 0.004},
        "extreme_tokens",
        ["layer 5", "0.40% of them in layer 5 on prose", "_usual"],
    ),
    (
        {("reconstruct_target", "delta_loss", (4, 5), "prose"): 0.6},
        "worse_than_leaving_out",
        ["On 4→5", "0.60 nats against 0.50 on 4→5, prose", "train longer"],
    ),
    (
        {("reconstruct_target", "loss_recovered"): 0.4, ("reconstruct_target", "loss_recovered", (3, 4), "code"): 0.2},
        "little_loss_recovered",
        ["On 3→4, 4→5", "0.20 on 3→4, code", "larger L0"],
    ),
    (
        {("l0", 5, "prose"): 33.5},
        "l0s_unlike",
        ["on the text on 4→5", "(22 and 33.5 on prose)", "similar L0"],
    ),
    (
        {("matched", "explained_variance", (3, 4), "prose"): -8.2},
        "worse_than_the_mean",
        ["matched: worse than the mean residual on 3→4", "matched has explained_variance -8.20 on 3→4"],
    ),
    (
        {("matched", "loss_recovered", (4, 5), "code"): -0.5},
        "worse_than_the_mean",
        ["on 4→5", "loss_recovered -0.50"],
    ),
]


@pytest.mark.parametrize(("changed", "kind", "parts"), PLANTED)
def test_each_warning_is_given_where_it_is_called_for(changed, kind, parts):
    one = only(cautions_after(results(changed), DEAD, {}))
    assert one.kind == kind
    for part in parts:
        assert part in f"{one.says} {one.do}"


@pytest.mark.parametrize(("share", "given"), [(0.1, False), (0.11, True)])
def test_dead_features_are_told_from_a_tenth_on(share, given):
    found = cautions_after(results(), DEAD | {3: share, 5: share}, {})
    assert kinds(found) == ["dead_features"] * given
    if given:
        assert "features of layers 3, 5 never fire" in found[0].says
        assert "11% in layer 3" in found[0].says
        assert "text.documents" in found[0].do


@pytest.mark.parametrize(("l0", "given"), [(47.0, False), (49.0, True), (13.0, False), (12.0, True), (0.0, True)])
def test_text_is_unlike_what_an_sae_knows_from_twice_its_l0_on_or_below_half(l0, given):
    found = cautions_after(results({("l0", 5, "prose"): l0}), DEAD, NAMED)
    assert ("text_unlike" in kinds(found)) == given
    if given:
        assert f"{l0:.3g} instead of 24 in layer 5 on prose" in found[0].says


def test_l0s_in_names_need_no_run():
    one = only(cautions_before({3: 2.0, 4: 4.0, 5: 6.0}, PAIRS))
    assert (one.kind, one.where) == ("l0s_unlike", "3→4")
    assert "differ by more than half by their names on 3→4 (2 and 4)." in one.says
    assert cautions_before({3: 2.0, 5: 60.0}, PAIRS) == []


def test_a_check_says_what_needs_no_run():
    layers = {1: {"width": "1k", "l0": 2}, 2: {"width": "1k", "l0": 4}}
    collection = SAECollection("gemma_scope", bundled.path("saes"), layers=layers)
    text = TextSettings({"code": SourceSettings("stdlib")}, documents=2, max_tokens=60, min_tokens=32, batch=2)
    found = check(
        ModelSettings(bundled.path("model")), collection, MatcherSettings(), text, EvaluationSettings(["matched"])
    )
    assert found.missing == []
    assert "differ by more than half by their names on 1→2" in dict(found.rows)["warning"]


def test_one_line_tells_of_all_layers_and_pairs():
    pairs = [(layer, layer + 1) for layer in range(12)]
    changed = {"largest_dimension": 0.5, ("matched", "explained_variance"): -1.0}
    dimension, worse = cautions_after(results(changed, pairs), {}, {})
    assert dimension.where == "layers 0 to 12"
    assert worse.where == "0→1, 1→2, 2→3, 3→4, 4→5, 5→6 and 6 more pairs"


def test_the_gravest_comes_first():
    changed = {
        ("reconstruct_target", "loss_recovered"): 0.1,
        "largest_dimension": 0.5,
        ("matched", "explained_variance"): -1.0,
    }
    found = kinds(cautions_after(results(changed), {3: 0.5}, {}))
    assert found == ["little_loss_recovered", "dead_features", "one_dimension", "worse_than_the_mean"]


def test_numbers_that_were_not_measured_call_for_nothing():
    assert cautions_after(Results(), {}, NAMED) == []
    few = Results(row for row in results() if row.metric == "l0")
    assert cautions_after(few, {}, {}) == []


def test_an_l0_is_read_from_what_picks_an_sae_or_from_a_path():
    layers = {
        0: {"width": "16k", "l0": 105},
        1: {"width": "16k", "l0": "71"},
        2: {"width": "16k", "l0": "medium"},
        3: {"path": "layer_3/width_16k/average_l0_59"},
        4: {"path": "blocks.4.hook_resid_post"},
    }
    assert named_l0s(SAECollection("sae_lens", "somewhere", layers=layers)) == {0: 105, 1: 71, 3: 59}


def test_warnings_are_a_table_also_where_there_are_none(tmp_path):
    given = cautions_before({3: 2.0, 4: 4.0}, PAIRS)
    for cautions in (given, []):
        save_cautions(cautions, tmp_path / "warnings.csv")
        with (tmp_path / "warnings.csv").open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            assert list(reader) == [asdict(one) for one in cautions]
            assert reader.fieldnames == ["kind", "where", "says", "do"]
