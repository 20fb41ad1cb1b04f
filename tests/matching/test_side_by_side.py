import threading
import time

import pytest
import torch

from sae_match.errors import UserError
from sae_match.matching import side_by_side as module
from sae_match.matching.layers import unwatched
from sae_match.matching.side_by_side import how_many, side_by_side
from sae_match.matching.solver.solving import Status

PAIR, STATUS = (0, 1), Status(round=1, done=0.5, gap=0.1)


def test_jobs_run_at_one_time_and_give_what_they_give_in_order():
    together = threading.Barrier(3, timeout=20)

    def job(number):
        together.wait()
        return number

    assert side_by_side([lambda _, n=n: job(n) for n in range(6)], 3, unwatched) == list(range(6))


def test_one_worker_is_the_thread_that_asks():
    found = side_by_side([lambda _: threading.current_thread()] * 2, 1, unwatched)
    assert found == [threading.current_thread()] * 2


def test_when_one_fails_the_others_end_where_they_tell_how_far_they_are():
    begun, ended = threading.Event(), threading.Event()

    def fails(_):
        begun.wait(20)
        raise UserError("layer 3 is missing")

    def goes_on(watch):
        begun.set()
        try:
            while True:
                watch(PAIR, STATUS)
                time.sleep(0.001)
        finally:
            ended.set()

    with pytest.raises(UserError, match="layer 3 is missing"):
        side_by_side([fails, goes_on, lambda _: pytest.fail("begun")], 2, unwatched)
    assert ended.is_set()


def test_a_failure_is_not_kept_waiting_by_a_job_that_was_begun_before():
    ended = []

    def long(watch):
        for _ in range(20_000):
            watch(PAIR, STATUS)
            time.sleep(0.001)
        ended.append(True)

    def fails(_):
        raise UserError("at once")

    with pytest.raises(UserError, match="at once"):
        side_by_side([long, fails], 2, unwatched)
    assert not ended


def test_one_at_a_time_tells_how_far_it_is():
    inside, most = [], []

    def watch(pair, _):
        inside.append(pair)
        most.append(len(inside))
        time.sleep(0.001)
        inside.remove(pair)

    def job(told):
        for _ in range(20):
            told(PAIR, STATUS)

    side_by_side([job] * 4, 4, watch)
    assert most == [1] * 80


def test_a_processor_solves_one_and_a_gpu_as_many_as_there_are_cores_and_memory_for(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert how_many(2304, 16_384, cpu) == 1
    free = {"cpu": 100e9, "cuda": 70e9}
    monkeypatch.setattr(module, "free_memory", lambda device: free[device.type])
    monkeypatch.setattr(module.os, "cpu_count", lambda: 16)
    assert how_many(2304, 16_384, gpu) == 8
    assert how_many(2304, 131_072, gpu) == 2
    free["cpu"] = 8e9
    assert how_many(2304, 16_384, gpu) == 2
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    assert how_many(2304, 16_384, gpu) == 1
    free["cuda"] = 0
    assert how_many(2304, 16_384, gpu) == 1
