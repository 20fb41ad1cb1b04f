"""Several matchings at one time: on a GPU a solution keeps one core of the host busy, and all others idle."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

import torch

from sae_match.matching.layers import Pair, PairWatch
from sae_match.matching.solver.planning import EXTRA_ENTRIES, PRECISIONS, free_memory, sparse_bytes
from sae_match.matching.solver.solving import Status

T = TypeVar("T")

# Share of a machine's free memory that all of them together may take, cores of the host for each, and the most of them.
_SHARE, _CORES, _MOST = 0.5, 2, 8
# SAEs that are in the host's memory for one: both sides, a random target, and copies of what is being made of them.
_SAES = 6


class _EndedError(Exception):
    """Another matching has failed, or the program is told to end."""


def how_many(d_in: int, d_sae: int, device: torch.device) -> int:
    """Matchings that a machine has cores and memory for at one time; one where costs are computed by its processor.

    Args:
        d_in: Width of the SAEs.
        d_sae: Their features.
        device: Where costs are computed.
    """
    if device.type == "cpu":
        return 1
    host = _SAES * 4 * 2 * d_in * d_sae
    copies = sum(sparse_bytes(d_sae, d_sae, 2 * d_in + 1 + EXTRA_ENTRIES, dtype) for dtype in PRECISIONS.values())
    room = min(_SHARE * free_memory(torch.device("cpu")) / host, _SHARE * free_memory(device) / copies)
    return max(1, min(_MOST, (os.cpu_count() or 1) // _CORES, int(room)))


def side_by_side(jobs: Sequence[Callable[[PairWatch], T]], workers: int, watch: PairWatch) -> list[T]:
    """What some jobs give, so many of them at one time, each in a thread.

    If one fails, or the program is told to end, the others end where they next tell how far they are.

    Args:
        jobs: Each is given what it tells its progress to.
        workers: How many at one time.
        watch: Told of the progress of all, by one at a time.
    """
    if workers == 1:
        return [job(watch) for job in jobs]
    ended, speaking = threading.Event(), threading.Lock()

    def told(pair: Pair, status: Status) -> None:
        if ended.is_set():
            raise _EndedError
        with speaking:
            watch(pair, status)

    with ThreadPoolExecutor(workers, "matching", _same_gpu()) as pool:
        futures = [pool.submit(job, told) for job in jobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in futures if future.done() and future.exception() is not None]
            return [future.result() for future in failed or futures]
        finally:
            # Whatever ends it, signals among that; where all are done there is nobody to be told.
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _same_gpu() -> Callable[[], object] | None:
    """What has a new thread work on this one's GPU, where there are several; a thread begins with the first."""
    if not torch.cuda.is_initialized():
        return None
    return partial(torch.cuda.set_device, torch.cuda.current_device())
