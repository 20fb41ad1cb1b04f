import pytest

from sae_match.report.comparison.joining import join
from sae_match.report.comparison.naming import by_number, in_full, namings
from sae_match.report.runs import find_runs
from tests.report.run_folders import run_folder


@pytest.fixture
def joined(tmp_path):
    def make(*runs):
        for job, told in enumerate(runs):
            run_folder(tmp_path / str(job), **told)
        (one,) = join(find_runs([tmp_path])[0])
        return one

    return make


def test_names_are_told_in_full_then_without_what_they_share_then_by_number(joined):
    one = joined(*({"sae__layers__3__l0": first, "sae__layers__4__l0": 2 * first} for first in (3, 9)))
    full, short, numbers = namings(one)
    assert full == in_full(one)
    assert full.called == [
        {"sae.layers.3.l0": "3", "sae.layers.4.l0": "6"},
        {"sae.layers.3.l0": "9", "sae.layers.4.l0": "18"},
    ]
    assert full.legend == ()
    assert short.called == [{"3.l0": "3", "4.l0": "6"}, {"3.l0": "9", "4.l0": "18"}]
    assert short.legend == ["columns are settings of sae.layers"]
    assert numbers.called == [{"run": "1"}, {"run": "2"}]
    assert numbers.legend == [
        "1  sae.layers.3.l0=3, sae.layers.4.l0=6",
        "2  sae.layers.3.l0=9, sae.layers.4.l0=18",
    ]


def test_names_that_share_nothing_are_not_shortened(joined):
    one = joined({"text__seed": 0}, {"matcher": "unfolded", "text__seed": 1})
    full, numbers = namings(one)
    assert full.called[1] == {"matcher": "unfolded", "text.seed": "1"}
    assert numbers == by_number(one)


def test_the_last_part_of_a_name_always_stays(joined):
    one = joined({"sae__x": 0, "sae__y": 0}, {"sae__x": 1, "sae__y": 1})
    _, short, _ = namings(one)
    assert short.called[1] == {"x": "1", "y": "1"}


def test_repetitions_are_told_apart_by_their_folders(joined):
    one = joined({}, {"matcher": "unfolded"}, {})
    assert by_number(one).legend == [
        "1  run=0, matcher=folded",
        "2  run=1, matcher=unfolded",
        "3  run=2, matcher=folded",
    ]


def test_a_single_run_needs_no_name(joined):
    assert in_full(joined({})).called == [{}]
