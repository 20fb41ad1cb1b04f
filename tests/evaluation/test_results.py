import math

import pytest

from sae_match.errors import UserError
from sae_match.evaluation.results import Result, Results

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
