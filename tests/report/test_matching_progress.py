import io
import logging
import math
import sys

from rich.console import Console

from sae_match import progress
from sae_match.matching.solver.solving import Status
from sae_match.report.matching_progress import MatchingProgress


def test_a_terminal_shows_pairs_round_and_gap():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    progress = MatchingProgress(console, pairs=3)
    with progress.shown():
        progress.done()
        progress.watch((1, 2), Status(2, 0.43, 1.2e-4))
        progress.progress.refresh()
    shown = console.file.getvalue()
    for part in ("layers 1 → 2", "(1 of 3 pairs done)", "round 2, 43%", "gap 1e-04"):
        assert part in shown


def test_log_lines_go_above_the_bar_and_back_to_where_they_went():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    handler = logging.StreamHandler(sys.__stdout__)
    logging.getLogger().addHandler(handler)
    try:
        with MatchingProgress(console).shown():
            assert handler.stream is sys.stdout
        assert handler.stream is sys.__stdout__
    finally:
        logging.getLogger().removeHandler(handler)


def test_without_a_terminal_a_long_solution_is_logged_now_and_then(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO())
    shown = MatchingProgress(console, pairs=2)
    with caplog.at_level(logging.INFO), shown.shown():
        for seconds in (0, 10, 20, 31, 40, 62):
            now[0] = float(seconds)
            shown.watch((0, 1), Status(2, seconds / 100, math.inf))
    assert caplog.messages == [
        "layers 0 and 1 (0 of 2 pairs done): round 2, 31%",
        "layers 0 and 1 (0 of 2 pairs done): round 2, 62%",
    ]
    assert console.file.getvalue() == ""
