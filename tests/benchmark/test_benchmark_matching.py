import pytest

from sae_match.benchmark import matching
from sae_match.benchmark.measuring import Figure


def test_every_figure_that_has_a_reach_on_small_problems_reaches_it(monkeypatch):
    monkeypatch.setattr(matching, "_SIZES", (64,))
    figures = matching.exactness(0)
    assert len(figures) == 6
    assert all(figure.reached for figure in figures)


def test_an_assignment_costs_what_scipys_does():
    figures = matching.against_scipy(300, 32, 1.0, 0)
    cost = next(figure for figure in figures if figure.what.startswith("cost"))
    assert cost.reached


def test_planted_dictionaries_are_matched_and_certified():
    figures = {figure.what: figure for figure in matching.planted(512, 64, ratio=1.0, seed=0)}
    assert figures["relative gap"].reached
    assert 0.3 < figures["planted pairs found again"].value <= 1
    assert figures["match() / float32 pass"].value == pytest.approx(
        figures["whole match()"].value / figures["one float32 pass over the costs"].value
    )


def test_dense_and_sparse_take_turns_and_the_choice_is_measured(monkeypatch):
    monkeypatch.setattr(matching, "_SMALL", (64, 128))
    monkeypatch.setattr(matching, "_SMALL_D_IN", (16,))
    monkeypatch.setattr(matching, "_REPEATS", 1)
    *ratios, choice = matching.dense_against_sparse(0)
    assert [figure.case for figure in ratios] == ["64 x 64, d = 16", "128 x 128, d = 16"]
    assert all(figure.value > 0 for figure in ratios)
    # Both are dense by choice.
    assert choice.value == max(1.0, *(figure.value for figure in ratios))


def test_growth_is_the_power_between_the_smallest_and_the_largest():
    def measured(size, seconds, gigabytes):
        case = f"{size:,} x {size:,}, d = 512"
        return [
            Figure(case, "whole match()", seconds, "s"),
            Figure(case, "peak memory, SAEs included", gigabytes, "GB"),
        ]

    figures = [
        figure
        for size, factor in ((16_384, 1), (32_768, 2), (65_536, 4), (131_072, 8))
        for figure in measured(size, 3.0 * factor**2, 1.0 * factor)
    ]
    time, memory = matching.growth(figures)
    assert (time.value, memory.value) == (pytest.approx(2), pytest.approx(1))
    assert time.reached
    assert matching.growth(figures[:4]) == []
