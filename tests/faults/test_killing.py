"""The harness itself; `python -m tests.faults.killing NUMBER` tries so many faults, and prints what was lost."""

import pytest

from tests.faults.killing import Tried, Undisturbed, faults, table


def test_faults_are_spread_over_the_whole_life_of_a_run():
    every = list(faults(0, 30))
    assert every == list(faults(0, 30)) != list(faults(1, 30))
    assert {name for name, _ in every} == {"SIGKILL", "SIGTERM", "SIGINT"}
    shares = sorted(share for _, share in every)
    assert all(at / 30 <= share < (at + 1) / 30 for at, share in enumerate(shares))


def test_what_was_lost_is_in_the_table(capsys):
    from rich.console import Console

    rows = [Tried("match", "SIGKILL", -9, 0.1, ""), Tried("match", "SIGKILL", -9, 0.3, "results.csv differs")]
    Console(width=200).print(table(rows))
    said = capsys.readouterr().out
    assert "| match   | SIGKILL |     2 |        1 |           0.3 s | results.csv differs (1 times) |" in said


@pytest.mark.slow
@pytest.mark.thorough
def test_a_run_that_ends_differently_is_found(tmp_path):
    """The harness itself: what an undisturbed run leaves is compared, so a changed result shows."""
    (tmp_path / "whole").mkdir()
    whole = Undisturbed("match", tmp_path / "whole")
    whole.results = {**whole.results, "L00-L01.safetensors": []}
    (tmp_path / "again").mkdir()
    assert whole._again(tmp_path / "again") == "L00-L01.safetensors differs"
