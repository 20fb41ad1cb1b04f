import io
import logging
import re

import pytest
from rich.console import Console

from sae_match import progress
from sae_match.progress import CountingBars, NowAndThen, counting


@pytest.fixture
def clock(monkeypatch):
    """Seconds that have passed, to be set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def printed(*, terminal, shown=True):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with counting(console if shown else None, "reading web") as advance:
        advance(1, 3)
        advance(2, 3)
    return console.file.getvalue()


def test_a_terminal_is_shown_how_much_is_done():
    assert "reading web" in printed(terminal=True)
    assert "2/3" in printed(terminal=True)


def test_nothing_else_is_written_to():
    assert printed(terminal=False).strip() == ""
    assert printed(terminal=True, shown=False) == ""


def test_a_line_is_due_after_so_many_seconds_of_silence(clock):
    lines, due = NowAndThen(), []
    for seconds in (0, 29, 30, 31, 59, 60, 95):
        clock[0] = float(seconds)
        due.append(lines.is_due())
    assert due == [False, False, True, False, False, True, True]
    lines.restart()
    clock[0] += progress.SILENCE - 1
    assert not lines.is_due()


def test_without_a_terminal_long_work_is_logged_now_and_then(clock, caplog):
    with caplog.at_level(logging.INFO), counting(Console(file=io.StringIO()), "reading web") as advance:
        for seconds in (1, 29, 31, 40, 62):
            clock[0] = float(seconds)
            advance(seconds, 70)
    assert caplog.messages == ["reading web: 31 of 70", "reading web: 62 of 70"]


def test_each_piece_of_work_has_a_bar_with_a_note_that_stays():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bars = CountingBars(console)
    with bars.progress:
        bars.watch("fitting", 4, 4)
        bars.watch("validating", 3, 9)
        bars.note("validating", "12 tokens/s, ")
        bars.note("unheard of", "nothing")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue()).splitlines()
    fitting, validating = ([line for line in shown if what in line][-1] for what in ("fitting", "validating"))
    assert "4/4" in fitting
    assert "3/9 12 tokens/s, left" in validating
    assert bars.elapsed("validating") > 0
    assert bars.elapsed("unheard of") is None
