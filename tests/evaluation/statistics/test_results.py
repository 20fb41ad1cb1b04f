import csv
import math

import pytest

from sae_match.errors import UserError
from sae_match.evaluation.statistics.results import Result, Results, SpanResult, load_spans, save_spans

ROWS = Results(
    [
        Result(0, 1, "matched", "prose", "delta_loss", 0.1 + 0.2, None, None, 100, 4),
        Result(0, 1, "random", "prose", "delta_loss", math.nan, -1.0, 2.0, 100, 4),
    ]
)


def test_a_saved_table_is_read_back_to_the_last_digit(tmp_path):
    ROWS.save(tmp_path / "results.csv")
    first, second = Results.load(tmp_path / "results.csv")
    assert first == ROWS.rows[0]
    assert math.isnan(second.value)
    assert (second.low, second.high) == (-1.0, 2.0)
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert header == "source_layer,target_layer,arm,dataset,metric,value,low,high,tokens,documents"


def test_one_number_is_found_and_several_are_refused():
    assert ROWS.value(arm="matched") == 0.1 + 0.2
    with pytest.raises(KeyError, match="2 results fit"):
        ROWS.value(dataset="prose")


def test_a_missing_file_or_column_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        Results.load(tmp_path / "results.csv")
    (tmp_path / "results.csv").write_text("arm,value\nmatched,1\n")
    with pytest.raises(UserError, match="has no column source_layer"):
        Results.load(tmp_path / "results.csv")


def test_columns_are_selected_and_listed_in_order():
    assert [row.arm for row in ROWS.select(dataset="prose", arm="random")] == ["random"]
    assert len(ROWS.select(metric="loss")) == 0
    assert ROWS.distinct("arm") == ["matched", "random"]
    assert ROWS.distinct("target_layer") == [1]


def test_means_over_spans_are_written_to_the_last_digit(tmp_path):
    rows = [
        SpanResult(1, "matched", "prose", "delta_loss", 0.1 + 0.2, -1 / 3, 2 / 3, 4),
        SpanResult(5, "composed", "code, old", "jaccard", math.nan, None, None, 1),
    ]
    save_spans(rows, tmp_path / "run" / "spans.csv")
    with (tmp_path / "run" / "spans.csv").open(newline="") as file:
        header, first, second = csv.reader(file)
    assert header == ["span", "arm", "dataset", "metric", "value", "low", "high", "pairs"]
    assert first[:4] == ["1", "matched", "prose", "delta_loss"]
    assert [float(cell) for cell in first[4:7]] == [0.1 + 0.2, -1 / 3, 2 / 3]
    assert second == ["5", "composed", "code, old", "jaccard", "nan", "", "", "1"]
    loaded = load_spans(tmp_path / "run" / "spans.csv")
    assert loaded[0] == rows[0]
    assert (loaded[1].low, loaded[1].high, loaded[1].pairs) == (None, None, 1)
    assert math.isnan(loaded[1].value)


def test_a_cell_that_is_no_number_is_refused(tmp_path):
    save_spans([SpanResult(1, "matched", "prose", "delta_loss", 0.5, None, None, 4)], tmp_path / "spans.csv")
    (tmp_path / "spans.csv").write_text((tmp_path / "spans.csv").read_text().replace("0.5", "half"))
    with pytest.raises(UserError, match=r"spans\.csv has a row that no run writes: .*'half'"):
        load_spans(tmp_path / "spans.csv")
    with pytest.raises(UserError, match="there is no file"):
        load_spans(tmp_path / "none.csv")


def test_a_dataset_whose_name_a_spreadsheet_would_compute_keeps_its_name(tmp_path):
    names = ["=x", "'=x", "-1", "plain"]
    Results(Result(0, 1, "matched", name, "loss", 0.5, None, None, 1, 4) for name in names).save(
        tmp_path / "results.csv"
    )
    assert Results.load(tmp_path / "results.csv").distinct("dataset") == names
    save_spans([SpanResult(1, "matched", name, "loss", 0.5, None, None, 4) for name in names], tmp_path / "spans.csv")
    assert [row.dataset for row in load_spans(tmp_path / "spans.csv")] == names
