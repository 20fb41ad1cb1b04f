import pytest

from sae_match.benchmark import significance as benchmark
from sae_match.benchmark.significance import cases, chains, cost, samples


def by_case(figures):
    return {(figure.case, figure.what): figure.value for figure in figures}


def test_every_case_begins_with_its_groups_name(tmp_path):
    assert list(cases(1, 0, tmp_path)) == [
        "significance",
        "significance_bundled",
        "significance_chains",
        "significance_rows",
        "significance_16k",
    ]


def test_chains_are_judged_in_three_ways(monkeypatch):
    monkeypatch.setattr(benchmark, "_SEEDS", 1)
    found = by_case(chains(0))
    assert len(found) == 2 * 3 * 2
    assert all(0 <= value <= 1 for value in found.values())
    wrong = [value for (case, what), value in found.items() if "wrong" in what and "all links" not in case]
    assert max(wrong) < 0.2


def test_a_cost_is_a_ratio_of_times():
    figures = cost(64, 16, 0)
    assert "8 rotations" in figures[0].what
    assert figures[0].value > 0
    assert figures[1].value == pytest.approx(1, abs=0.2)


def test_samples_of_rows_stand_beside_all_rows(monkeypatch):
    monkeypatch.setattr(benchmark, "_SEEDS", 1)
    shares = [value for (_, what), value in by_case(samples(0)).items() if what.startswith("half matches")]
    assert len(shares) == 3
    assert max(shares) - min(shares) < 0.1
