"""Runs opened as data, against the rows that were written."""

import math
import subprocess
import sys

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sae_match import open_run
from sae_match.errors import UserError
from tests.report.reading.made_up import JOINT, MATCHINGS, PARTNERS, RESULTS, made, rows_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return open_run(made(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return open_run(made(tmp_path_factory.mktemp("weights"), text=False))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Names that could be read in more than one way."""
    return open_run(made(tmp_path_factory.mktemp("two"), ("a-L04", "c")))


def plain(value):
    return None if pandas.isna(value) else value


def test_a_pair_has_a_row_and_each_dataset_columns(run):
    table = run.pairs(3, 4)
    written = list(rows_of((3, 4)))
    assert table["source_feature"].tolist() == [3, 1, 0]
    for _, row in table.iterrows():
        for dataset in JOINT:
            (of,) = (
                one for one in written if (one["dataset"], one["source_feature"]) == (dataset, row["source_feature"])
            )
            for name in ("both_active", "jaccard", "activations"):
                assert plain(row[f"{name}_{dataset}"]) == of[name]
            for name in ("target_feature", "cost", "statistic", "q", "mutual_nearest", "source_label", "target_label"):
                assert row[name] == of[name]
    assert "dataset" not in table
    assert list(table)[:6] == [
        f"{side}_{what}" for what in ("layer", "feature", "label") for side in ("source", "target")
    ]


def test_what_switching_features_off_did_stands_beside_the_pairs(tmp_path):
    folder = made(tmp_path)
    with pytest.raises(UserError, match=r"no causal/L03-L04.parquet: no feature was switched off; evaluation=causal"):
        open_run(folder).causes(3, 4)
    (folder / "causal").mkdir()
    causes = pa.table(
        {
            "dataset": ["prose", "prose", "code", "code"],
            "source_feature": [3, 0, 3, 0],
            "carried_matched": [0.5, 0.25, None, 1.0],
            "agreement_matched": [0.75, None, 0.5, -1.0],
            "rank": [1, 7, None, 2],
        }
    )
    pq.write_table(causes, folder / "causal" / "L03-L04.parquet")
    run = open_run(folder)
    assert len(run.causes(3, 4)) == 4
    table = run.pairs(3, 4).set_index("source_feature")
    assert table["carried_prose"].dropna().to_dict() == {3: 0.5, 0: 0.25}
    assert table["agreement_code"].dropna().to_dict() == {3: 0.5, 0: -1.0}
    assert table["causal_rank_prose"].dropna().to_dict() == {3: 1, 0: 7}
    assert run.path(3, 3)["carried_prose"].iloc[0] == 0.5
    # Of the other pairs nothing was asked.
    assert "carried_prose" not in run.pairs(4, 5)


def test_where_features_come_from_is_a_table_of_a_layer(tmp_path):
    folder = made(tmp_path)
    with pytest.raises(UserError, match=r"no provenance/L03.parquet: it was not asked where features come from; mlp="):
        open_run(folder).origins(3)
    (folder / "provenance").mkdir()
    pq.write_table(
        pa.table({"feature": [0, 1], "kind": ["carried over", "newborn"]}), folder / "provenance/L03.parquet"
    )
    assert open_run(folder).origins(3)["kind"].tolist() == ["carried over", "newborn"]


def test_the_long_form_is_the_file(run):
    rows = run.pairs(4, 5, long=True).to_dict("records")
    assert [{name: plain(value) for name, value in row.items()} for row in rows] == list(rows_of((4, 5)))


def test_the_best_and_the_worst_are_by_the_statistic_and_of_equal_ones_by_cost(run):
    assert run.pairs(3, 4, best=2)["source_feature"].tolist() == [3, 1]
    assert run.pairs(3, 4, worst=2)["source_feature"].tolist() == [0, 1]
    assert run.pairs(3, 4, best=1, worst=1)["source_feature"].tolist() == [3, 0]
    assert run.pairs(3, 4, best=2, worst=9)["source_feature"].tolist() == [3, 1, 0]
    # One has no statistic.
    assert run.pairs(4, 5, best=9)["source_feature"].tolist() == [2, 0]
    assert run.pairs(3, 4, best=0).empty
    long = run.pairs(3, 4, best=1, worst=1, long=True)
    assert list(zip(long["source_feature"], long["dataset"], strict=True)) == [
        *((3, "prose"), (3, "code"), (0, "prose"), (0, "code"))
    ]


def test_other_columns_say_what_is_best_as_well(run):
    assert run.pairs(4, 5, best=1, by="cost")["source_feature"].tolist() == [2]
    assert run.pairs(4, 5, worst=1, by="cost")["source_feature"].tolist() == [3]
    assert run.pairs(3, 4, best=1, by="jaccard_prose")["source_feature"].tolist() == [0]
    with pytest.raises(UserError, match=r"no number 'source_label'; did you mean source_layer\? They have .*statistic"):
        run.pairs(3, 4, best=1, by="source_label")
    with pytest.raises(UserError, match=r"pairs have no number 'jacard_prose'; did you mean jaccard_prose\?"):
        run.pairs(3, 4, best=1, by="jacard_prose")
    with pytest.raises(UserError, match=r"pairs have no number 'zzz'; they have source_layer"):
        run.pairs(3, 4, best=1, by="zzz")
    with pytest.raises(UserError, match="best is a number of pairs, got -1"):
        run.pairs(3, 4, best=-1)


def test_features_results_and_spans_are_the_files(run):
    assert run.features(4)["label"].tolist() == run.features("4")["label"].tolist() == [f"4/{i}" for i in range(4)]
    for row, written in zip(run.results.to_dict("records"), RESULTS, strict=True):
        text = {name: str(written[name]).removeprefix("'") for name in ("arm", "dataset")}
        assert {name: row[name] for name in text} == text
        assert row["value"] == written["value"]
        assert row["tokens"] == 9
    assert math.isnan(run.results["low"][1])
    assert run.spans["dataset"].tolist() == ["=1"]


def test_what_one_changes_nobody_else_sees(run):
    for table, column in ((run.pairs(3, 4), "cost"), (run.pairs(3, 4, long=True), "cost"), (run.results, "value")):
        table[column] = 0
    assert run.pairs(3, 4)["cost"].tolist() == [1.0, 2.0, 3.0]
    assert run.results["value"][0] == 1 / 3


@pytest.mark.parametrize(("layer", "feature"), [(3, 0), (4, 2), (5, 0)])
def test_a_path_is_the_same_from_each_of_its_features(run, layer, feature):
    table = run.path(layer, feature)
    assert list(zip(table["layer"], table["feature"], table["label"], strict=True)) == [
        *((3, 0, "3/0"), (4, 2, "4/2"), (5, 0, "5/0"))
    ]
    assert table["cost"].tolist()[:2] == [3.0, 1.0]
    assert table["both_active_prose"].tolist()[:2] == [3, 5]
    assert table.iloc[2][["cost", "q", "both_active_prose", "jaccard_code"]].isna().all()


def test_a_path_ends_where_a_feature_has_no_partner(run):
    by_hand = {(3, 2): [(3, 2)], (5, 3): [(5, 3)], (3, 3): [(3, 3), (4, 1)]}
    assert PARTNERS[4, 5][1] == PARTNERS[3, 4][2] == -1
    for start, expected in by_hand.items():
        table = run.path(*start)
        assert list(zip(table["layer"], table["feature"], strict=True)) == expected
        assert table["label"].tolist() == [f"{layer}/{feature}" for layer, feature in expected]


def test_a_matching_is_the_one_that_was_saved(run):
    assert list(run.matching(3, 4)) == [None if j < 0 else j for j in PARTNERS[3, 4]]
    assert list(run.matching(3, 4).inverse()) == [1, 3, 0, None]


def test_a_run_of_weights_alone_has_pairs_and_paths_and_says_what_it_lacks(weights):
    assert weights.pairs(3, 4).to_dict("records") == list(rows_of((3, 4), text=False))
    assert weights.pairs(3, 4, long=True, best=1)["source_feature"].tolist() == [3]
    assert weights.path(5, 0)["feature"].tolist() == [0, 2, 0]
    assert weights.results.to_dict("records") == MATCHINGS
    for ask in (lambda: weights.features(3), lambda: weights.spans):
        with pytest.raises(UserError, match=r"has no (features/L03.parquet|spans.csv): scripts/match.py reads no text"):
            ask()


def test_layers_of_two_collections_are_called_by_both(two):
    assert two.layers == ["3@a-L04", "4@a-L04", "4@c", "5@c"]
    assert two.layer_pairs == [(3, 4), (4, 5)]
    assert len(two.pairs(3, 4)) == 3
    assert two.features("4@c")["label"][1] == two.features(5)["label"][1].replace("5", "4")
    with pytest.raises(UserError, match="both collections have a layer 4: say '4@a-L04' or '4@c'"):
        two.path(4, 0)
    table = two.path("4@c", 2)
    assert list(zip(table["layer"], table["collection"], table["feature"], strict=True)) == [
        (3, "a-L04", 0),
        (4, "c", 2),
    ]
    assert len(two.matching(4, 5)) == 4


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda run: run.pairs(3, 5), "has no pair of layers 3→5; it has 3→4, 4→5"),
        (lambda run: run.matching(4, 3), "has no pair of layers 4→3; it has 3→4, 4→5"),
        (lambda run: run.features(6), "has no layer 6; it has 3, 4, 5"),
        (lambda run: run.path("3@x", 0), "has no layer 3@x; it has 3, 4, 5"),
        (lambda run: run.path(3, 4), "layer 3 has no feature 4, it has 4, from 0 on"),
        (lambda run: run.path(5, 9), "layer 5 has no feature 9, it has 4, from 0 on"),
        (lambda run: run.path(3, -1), "layer 3 has no feature -1"),
        (lambda run: run.path(3, "a"), "a feature is a whole number, got 'a'"),
        (lambda run: run.pairs(3, 4, best=1.5), "best is a number of pairs, got 1.5"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_what_a_run_lacks_is_said_with_what_it_has(run, ask, message):
    with pytest.raises(UserError) as refused:
        ask(run)
    assert message in str(refused.value)


def test_what_an_earlier_version_did_not_leave_is_said(tmp_path):
    folder = made(tmp_path / "run", pairs=((3, 4),))
    (folder / "features" / "L04.parquet").unlink()
    (folder / "pairs" / "L03-L04.parquet").write_bytes(b"PAR1 is not all")
    run = open_run(folder)
    with pytest.raises(UserError, match=r"has no features/L04.parquet: the run was interrupted, or is of an earlier"):
        run.features(4)
    with pytest.raises(UserError, match=r"L03-L04.parquet cannot be read: "):
        run.pairs(3, 4)
    (folder / "results.csv").write_text("source_layer,value\n3,many\n")
    with pytest.raises(UserError, match=r"results.csv has a row that no run writes: .*many"):
        _ = run.results
    (folder / "spans.csv").write_text("span,value\n3\n")
    with pytest.raises(UserError, match=r"spans.csv has a row that is cut short"):
        _ = run.spans


def test_tables_of_an_earlier_version_have_no_labels_and_no_statistic(run, tmp_path):
    folder = made(tmp_path / "run")
    rows = [{k: v for k, v in row.items() if "label" not in k and k != "statistic"} for row in rows_of((3, 4))]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs" / "L03-L04.parquet")
    old = open_run(folder)
    assert old.pairs(3, 4, best=2)["source_feature"].tolist() == run.pairs(3, 4, best=2)["source_feature"].tolist()
    assert old.path(3, 0)["feature"].tolist() == [0, 2, 0]


def test_folders_of_other_things_are_no_runs(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        open_run(tmp_path / "nowhere")
    made(tmp_path / "sweep" / "0")
    with pytest.raises(UserError, match=r"is no run's folder: it has no provenance.json .*runs below it: .*sweep/0"):
        open_run(tmp_path / "sweep")
    with pytest.raises(UserError, match="holds no matching"):
        open_run(made(tmp_path / "judged", pairs=()))


def test_tables_are_read_without_torch(run):
    statement = (
        f"import sys, sae_match; run = sae_match.open_run({str(run.folder)!r}); run.path(3, 0); "
        "print(sorted({'torch', 'transformers', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]
