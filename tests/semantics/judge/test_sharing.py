"""Answers outlive interruptions, and processes share them."""

import os
import signal
import time
from collections import Counter
from threading import Event, Timer

import pytest

from sae_match.errors import UserError
from sae_match.semantics.judge import open_judge
from tests.programs import Running
from tests.semantics.judge.conftest import PAIRS, made_up, settings_for
from tests.semantics.judge.mini_server import refused, same_words

# Judges made-up pairs, with claims that expire soon after a process dies.
PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from sae_match.semantics.judge import Described, JudgeSettings, open_judge, openai_judge
openai_judge.Store = partial(openai_judge.Store, lease=1.0)
url, folder, count = sys.argv[1:]
settings = JudgeSettings("openai", "a-model", base_url=url, concurrency=4, key_variable="OTHER_KEY")
pairs = [(Described(f"thing {index}"), Described(f"other {index}")) for index in range(int(count))]
try:
    verdicts = open_judge(settings, Path(folder)).judge(pairs)
except KeyboardInterrupt:
    sys.exit(130)
print([verdict.labels for verdict in verdicts] == [(2, 2)] * int(count))
"""


def start(server, folder, count, **environment):
    return Running(["-c", PROGRAM, server.url, folder, count], environment={**os.environ, **environment})


def wait_until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def test_an_interruption_after_700_of_1600_judgements_loses_and_repeats_nothing(serve, ask):
    server, pairs = serve(), made_up(800)

    def interrupt(done, _total):
        if done == 700:
            raise KeyboardInterrupt

    first = ask(server, concurrency=8)
    with pytest.raises(KeyboardInterrupt):
        first.judge(pairs, interrupt)
    asked = len(server.requests)
    # Those under way are waited for.
    assert 700 <= asked <= 700 + 3 * 8
    rest = ask(server, concurrency=8)
    assert (rest.estimate(pairs).cached, rest.estimate(pairs).calls) == (asked, 1600 - asked)
    assert [verdict.labels for verdict in rest.judge(pairs)] == [(2, 2)] * 800
    assert len(server.requests) == 1600
    assert set(server.asked.values()) == {1}
    assert first.account.calls + rest.account.calls == 1600


def test_an_error_in_the_middle_loses_and_repeats_nothing(serve, ask):
    server = serve(lambda request, number: same_words(request) if number < 25 else refused(401))
    with pytest.raises(UserError, match="401"):
        ask(server).judge(made_up(20))
    server.answers = same_words
    ask(server).judge(made_up(20))
    answered = len(server.requests) - 40
    # Only what was refused is asked again.
    assert 1 <= answered <= 4
    assert server.asked.total() - len(server.asked) == answered


def test_a_call_that_waits_for_room_in_the_limit_is_not_made_after_the_end(serve, ask):
    """Two calls fit into the limit, a third only when both are settled; before that comes the end."""
    two, release = Event(), Event()

    def answers(request, number):
        if number == 1:
            two.set()
        (two if number == 0 else release).wait(30)
        return same_words(request, number)

    def interrupt(done, _total):
        if done:
            Timer(0.3, release.set).start()
            raise KeyboardInterrupt

    server = serve(answers)
    # Each call costs 20, and may cost 30.
    judge = ask(server, concurrency=3, price_in=0.0, price_out=1e6, max_tokens=30, limit=70.0)
    with pytest.raises(KeyboardInterrupt):
        judge.judge(made_up(3), interrupt)
    assert len(server.requests) == 2
    assert (judge.account.calls, judge.account.cost) == (2, 40.0)
    # What was set aside for it is free again: there is room for one more.
    assert judge.judge(PAIRS[:1])[0].labels == (3, 3)


def test_control_c_while_a_server_keeps_one_waiting_ends_soon(serve, tmp_path):
    """It waits between two tries, for long, and stops waiting."""
    server = serve(
        lambda request, number: same_words(request) if number < 6 else refused(429, headers={"Retry-After": 99})
    )
    process = start(server, tmp_path, 20)
    wait_until(lambda: len(server.requests) == 10)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    server.answers = same_words
    output, _ = start(server, tmp_path, 20).communicate(timeout=60)
    assert output == "True\n"
    assert len(server.requests) == 40 + 4


def test_a_process_that_is_killed_loses_what_was_under_way_alone(serve, tmp_path):
    def slowly(request, number):
        server.closing.wait(0.02)
        return same_words(request, number)

    server = serve(slowly)
    process = start(server, tmp_path, 60)
    wait_until(lambda: len(server.requests) >= 50)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    output, _ = start(server, tmp_path, 60).communicate(timeout=60)
    assert output == "True\n"
    assert len(server.asked) == 120
    assert 120 <= len(server.requests) <= 124


def test_two_processes_ask_each_question_once(serve, tmp_path):
    both = Event()

    def when_both_are_there(request, number):
        if len(set(server.keys)) == 2:
            both.set()
        assert both.wait(60)
        return same_words(request, number)

    server = serve(when_both_are_there)
    processes = [start(server, tmp_path, 40, OTHER_KEY=name) for name in ("one", "other")]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["True\n"] * 2
    assert set(server.asked.values()) == {1}
    assert len(server.requests) == 80
    # Both had a part in it.
    assert min(Counter(server.keys).values()) > 4


def test_one_that_waits_takes_over_from_another_that_gives_up(serve, ask, tmp_path):
    """The other holds claims, and fails."""
    server = serve()
    other = open_judge(settings_for(server), tmp_path / "judge")
    orders = other._all_orders(PAIRS)
    with other._store.alive():
        assert other._store.claim(orders[0]) == "mine"
        told = []

        def watch(done, total):
            told.append(done)
            if done == total - 1:
                other._store.release(orders[0])

        verdicts = ask(server).judge(PAIRS, watch)
    assert [verdict.labels for verdict in verdicts] == [(3, 3), (2, 2), (1, 1)]
    assert told[-1] == 5
    assert len(server.requests) == 5
