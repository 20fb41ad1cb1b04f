import numpy as np

from sae_match.report.tables import charts, summary
from sae_match.report.validation.recording import record_of
from tests.report.made_up import pair_tables, results, spans


def test_a_record_has_every_number_and_each_pairs_cost_once():
    record = record_of(results(), spans(), pair_tables())
    assert record.by_layer == dict(charts(results()))
    assert record.means == summary(spans())
    assert record.pairs.num_rows == sum(map(len, pair_tables().values()))
    assert record.costs.keys() == pair_tables().keys()
    np.testing.assert_equal(record.costs[0, 1], [1.0, 2.0, 4.0])
    np.testing.assert_equal(record.costs[1, 2], [3.0, np.nan])


def test_a_run_without_pairs_has_none_in_its_record():
    record = record_of(results(), spans(), {})
    assert (record.pairs, record.costs) == (None, {})
