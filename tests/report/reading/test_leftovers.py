"""Folders that hold more, or less, than one sound run leaves."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sae_match import open_run
from sae_match.errors import UserError
from tests.report.reading.made_up import made, rows_of


def test_what_an_earlier_run_left_in_the_folder_does_not_hide_the_present_one(tmp_path):
    made(tmp_path, ("a", "b"))
    (tmp_path / "results.csv").unlink()
    run = open_run(made(tmp_path))
    assert run.layers == ["3", "4", "5"]
    assert run.path(3, 0)["feature"].tolist() == [0, 2, 0]
    again = open_run(made(tmp_path, ("a", "b")))
    assert again.layers == ["3@a", "4@a", "4@b", "5@b"]


def test_pairs_are_those_of_the_table_that_have_files_and_of_the_files_without_one(tmp_path):
    folder = made(tmp_path)
    (folder / "matchings" / "L04-L05.safetensors").unlink()
    shutil.copy(folder / "matchings" / "L03-L04.safetensors", folder / "matchings" / "L01-L02.safetensors")
    assert open_run(folder).layer_pairs == [(3, 4)]
    for damaged in ("source_layer,target_layer\n3,four\n", "arm\nmatched\n"):
        (folder / "results.csv").write_text(damaged)
        assert open_run(folder).layer_pairs == [(1, 2), (3, 4)]
    (folder / "results.csv").unlink()
    assert open_run(folder).layer_pairs == [(1, 2), (3, 4)]


@pytest.mark.parametrize("stems", [("L03-L03",), ("L04-L03",), ("L03@a-L03@a", "L03@a-L04@a")])
def test_a_path_ends_where_files_would_lead_it_round(tmp_path, stems):
    """A table of pairs leads feature 0 to 0, so that a path that goes round would never end."""
    folder = made(tmp_path, pairs=((3, 4),))
    (folder / "results.csv").unlink()
    rows = [row | {"target_feature": row["source_feature"]} for row in rows_of((3, 4))]
    for stem in ("L03-L04", *stems):
        if stem != "L03-L04":
            shutil.copy(folder / "matchings" / "L03-L04.safetensors", folder / "matchings" / f"{stem}.safetensors")
        pq.write_table(pa.Table.from_pylist(rows), folder / "pairs" / f"{stem}.parquet")
    run = open_run(folder)
    assert run.layer_pairs == [(3, 4)]
    for layer in (3, 4):
        assert run.path(layer, 0)["layer"].tolist() == [3, 4]


def test_a_damaged_header_is_said(tmp_path):
    folder = made(tmp_path, pairs=((3, 4),))
    header = b'{"permutation": {"shape": [Infinity]}}'
    file = folder / "matchings" / "L03-L04.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    for layer in (3, 4):
        with pytest.raises(UserError, match=f"L03-L04.safetensors is no matching: .*how many features layer {layer}"):
            open_run(folder).path(layer, 0)


@pytest.mark.parametrize("columns", [{"label": ["3/0"]}, {"feature": [0, 1, 2, 3]}])
def test_a_table_of_features_without_the_label_is_said(tmp_path, columns):
    folder = made(tmp_path, pairs=((3, 4),))
    pq.write_table(pa.table(columns), folder / "features" / "L03.parquet")
    with pytest.raises(UserError, match=r"features/L03.parquet has no label of feature 3; the run was interrupted"):
        open_run(folder).path(3, 3)


def test_pairs_without_statistic_and_cosines_are_not_ranked(tmp_path):
    folder = made(tmp_path, pairs=((3, 4),))
    kept = ("source_feature", "target_feature", "dataset", "cost")
    rows = [{name: row[name] for name in kept} for row in rows_of((3, 4))]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs" / "L03-L04.parquet")
    run = open_run(folder)
    with pytest.raises(UserError, match=r"pairs have no statistic, and no encoder_cosine and decoder_cosine .*cost"):
        run.pairs(3, 4, best=1)
    assert run.pairs(3, 4, best=1, by="cost")["cost"].tolist() == [1.0]
