"""The benchmark of the evaluation, on little text: its numbers must be right wherever it runs."""

import pytest

from sae_match.benchmark import evaluation
from sae_match.benchmark.measuring import chosen


def test_cases_are_chosen_by_name():
    cases = evaluation.cases(["sae-match", "validate"])
    assert list(chosen(cases, {}, ["documents"])) == ["documents"]
    assert list(cases) == ["ladder", "processes", "documents"]


@pytest.mark.slow
@pytest.mark.usefixtures("as_a_user")
def test_the_ladder_equals_the_naive_implementation_and_is_timed(monkeypatch):
    monkeypatch.setattr(evaluation, "_DOCUMENTS", 2)
    monkeypatch.setattr(evaluation, "_BATCH", 1)
    apart, faster, overhead = evaluation.ladder()
    assert apart.reached
    assert faster.value > 0
    assert overhead.value > 0


def test_tables_are_compared_whatever_the_order_of_their_rows(tmp_path):
    header, rows = "a,b,c,d,e,value,low,high\n", ["0,1,m,p,x,1.5,,\n", "1,2,m,p,x,2.5,2,3\n"]
    (tmp_path / "one.csv").write_text(header + "".join(rows))
    (tmp_path / "other.csv").write_text(header + "".join(reversed(rows)))
    one, other = (evaluation._table(tmp_path / f"{name}.csv") for name in ("one", "other"))
    assert repr(one) == repr(other)
    assert [one[0], *one[3:]] == [1.5, 2.5, 2.0, 3.0]
