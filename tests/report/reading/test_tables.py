import pyarrow as pa

from sae_match.report.reading.tables import MEASURED, by_pair
from sae_match.report.validation.pairs import pair_table
from tests.report.validation.pairs import counted, found


def test_what_is_measured_on_text_is_known_by_name():
    """All other columns are the same for each dataset: none of a pair's numbers is lost."""
    table = pair_table((0, 1), found(), counted()).to_pandas()
    assert set(MEASURED) < set(table.columns)
    others = [name for name in table if name not in (*MEASURED, "dataset")]
    for _, rows in table.groupby("source_feature"):
        assert all(rows[name].nunique(dropna=False) == 1 for name in others)
    wide = by_pair(table)
    assert len(wide.columns) == len(others) + 2 * len(MEASURED)
    assert wide["both_active_prose"].tolist() == [0, 3]


def test_a_table_without_a_pair_has_no_columns_of_datasets():
    empty = pa.table(
        {"dataset": pa.array([], pa.string()), "source_feature": [], "jaccard": [], "cost": []}
    ).to_pandas()
    assert list(by_pair(empty)) == ["source_feature", "cost"]
