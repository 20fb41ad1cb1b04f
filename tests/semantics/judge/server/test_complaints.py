"""A server in trouble is told of now and then, not once a call."""

import logging
import re

import pytest

from sae_match.semantics.judge.server import complaints
from tests.semantics.judge.conftest import made_up
from tests.semantics.judge.mini_server import refused, same_words


@pytest.fixture
def told(caplog):
    """Lines that were logged of trouble."""
    caplog.set_level(logging.INFO, logger=complaints.__name__)
    return lambda: [record.getMessage() for record in caplog.records if record.name == complaints.__name__]


def in_trouble(calls, *statuses, wait=0.0):
    """The first so many calls fail, with these statuses in turn and each in words of its own."""

    def answer(request, number):
        if number >= calls:
            return same_words(request, number)
        return refused(statuses[number % len(statuses)], f"trouble number {number}", {"Retry-After": wait})

    return answer


def patient(**options):
    return {"retries": 50, "backoff": 0.0, **options}


def test_eight_calls_that_are_sent_away_for_a_while_make_one_line(serve, ask, told):
    server = serve(in_trouble(40, 429))
    verdicts = ask(server, **patient(concurrency=8)).judge(made_up(8))
    assert [verdict.labels for verdict in verdicts] == [(2, 2)] * 8
    (line,) = told()
    assert re.fullmatch(
        rf"{server.url} answered 429: .*trouble number \d+; trying again in 0\.0 s "
        r"\(\d+ calls have failed so, [1-8] of them wait\)",
        line,
    )


def test_each_kind_has_its_line(serve, ask, told):
    ask(serve(in_trouble(12, 429, 500, 503)), **patient(concurrency=1)).judge(made_up(1))
    assert sorted(re.search(r"answered (\d+)", line)[1] for line in told()) == ["429", "500", "503"]


def test_trouble_that_lasts_is_told_again_with_what_it_came_to(serve, ask, told, monkeypatch):
    monkeypatch.setattr(complaints, "EVERY", 0.3)
    ask(serve(in_trouble(20, 429, wait=0.05)), **patient(concurrency=1)).judge(made_up(1))
    counts = [int(re.search(r"\((\d+) calls", line)[1]) for line in told()]
    # The first failure alone is not told of; twenty take a second.
    assert counts[0] == 2
    assert 2 <= len(counts) < 19
    assert counts == sorted(set(counts))


def test_a_single_failure_is_not_worth_a_line(serve, ask, told):
    ask(serve(in_trouble(1, 429)), **patient()).judge(made_up(1))
    assert told() == []
