"""Which solver, in which precision and in blocks of which size: by the problem's size and the memory there is."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch

from sae_match.errors import UserError
from sae_match.matching.cost import FeatureVectors
from sae_match.matching.dense import DensePricer
from sae_match.matching.pricing import Pricer
from sae_match.matching.settings import PRECISION_NAMES, Solver, refuse_unknown_means
from sae_match.matching.sparse import SparsePricer

__all__ = [
    "GIGABYTE",
    "PRECISIONS",
    "Plan",
    "Solver",
    "fast_precision",
    "free_memory",
    "planned",
    "refuse_unknown_means",
]

PRECISIONS: dict[str, torch.dtype] = {name: getattr(torch, name) for name in PRECISION_NAMES}

GIGABYTE = 2**30
# Up to so many pairs a float64 matrix is made faster than the sparse solver has set out.
_DENSE_PAIRS = 2048**2
_SHARE_OF_FREE = 0.8
# Candidate pairs, their sorting and the assignment among them, measured a row and column.
_BYTES_PER_FEATURE = 20_000
_BLOCKS = {"cpu": (2048, 4096), "cuda": (8192, 16384)}
_SMALLEST_BLOCK = (64, 256)


@dataclass(frozen=True)
class Plan:
    """How a problem is solved.

    Attributes:
        solver: `dense` or `sparse`.
        precisions: Of the sparse solver's passes, the coarsest first.
        block: Rows and columns of its blocks.
        reason: Why, for people.
    """

    solver: str
    precisions: tuple[torch.dtype, ...]
    block: tuple[int, int]
    reason: str

    def pricers(self, source: FeatureVectors, target: FeatureVectors) -> list[Callable[[], Pricer]]:
        """Make what the rounds ask about all pairs, the coarsest first."""
        if self.solver == "dense":
            return [partial(DensePricer, source, target)]
        return [
            partial(SparsePricer, source, target, precision=precision, block=self.block)
            for precision in self.precisions
        ]


def planned(
    n_source: int,
    n_target: int,
    width: int,
    *,
    solver: Solver,
    precision: str,
    memory: float | None,
    device: torch.device,
) -> Plan:
    """Choose how a problem is solved.

    Args:
        n_source: Source features.
        n_target: Target features.
        width: Entries of a feature vector.
        solver: `dense`, `sparse`, or `auto` for the faster one that fits.
        precision: Of the sparse solver's first passes, or `auto` for the fastest this machine has.
        memory: Budget in gigabytes for what the solver adds to what is in memory; a share of what is
            free by default.
        device: Where costs are computed.

    Raises:
        UserError: If a choice is unknown or nothing fits the budget.
    """
    refuse_unknown_means(solver, precision, memory)
    budget = _SHARE_OF_FREE * free_memory(device) if memory is None else memory * GIGABYTE
    dense_bytes = DensePricer.bytes(n_source, n_target, width)
    small = n_source * n_target <= _DENSE_PAIRS
    size = f"{n_source} x {n_target} costs"
    if solver == "dense" or (solver == "auto" and small and dense_bytes <= budget):
        if dense_bytes > budget:
            raise UserError(f"{_needs('dense', dense_bytes, budget)}; use solver=sparse")
        return Plan("dense", (), (0, 0), "as asked" if solver == "dense" else f"{size} fit the processor")
    first = fast_precision(device.type) if precision == "auto" else PRECISIONS[precision]
    finer = [dtype for dtype in PRECISIONS.values() if dtype.itemsize > first.itemsize]
    block = _BLOCKS.get(device.type, _BLOCKS["cpu"])
    fixed = SparsePricer.bytes(n_source, n_target, width, first) + _BYTES_PER_FEATURE * (n_source + n_target)
    while fixed + _block_bytes(block, first) > budget and block[0] > _SMALLEST_BLOCK[0]:
        block = (block[0] // 2, block[1] // 2)
    if fixed + _block_bytes(block, first) > budget:
        raise UserError(_needs("sparse", fixed + _block_bytes(block, first), budget))
    why = "as asked" if solver == "sparse" else f"a matrix of {size} takes {dense_bytes / GIGABYTE:.2g} GB"
    return Plan("sparse", (first, *finer), block, f"{why}; passes in {str(first).removeprefix('torch.')}")


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a device: of system memory, within the limit set for this process group."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free.append(int(lines["MemAvailable"].split()[0]) * 1024)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdecimal():
        free.append(int(limit.read_text()) - int(used.read_text()))
    return max(0, min(free))


@lru_cache
def fast_precision(device_type: str) -> torch.dtype:
    """bfloat16 where products in it are much faster than in float32, as is so on all GPUs; else float32."""
    if device_type != "cpu":
        return torch.bfloat16
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.ones(512, 1024, dtype=dtype)
        runs = []
        for _ in range(4):
            start = time.perf_counter()
            left @ left.T
            runs.append(time.perf_counter() - start)
        seconds[dtype] = min(runs)
    return torch.bfloat16 if 1.5 * seconds[torch.bfloat16] < seconds[torch.float32] else torch.float32


def _block_bytes(block: tuple[int, int], precision: torch.dtype) -> int:
    # The products, what is compared with them, and the bits that come of it.
    return block[0] * block[1] * (precision.itemsize + 4)


def _needs(solver: str, needed: int, budget: float) -> str:
    return (
        f"the {solver} solver needs {needed / GIGABYTE:.3g} GB, the memory budget is {budget / GIGABYTE:.3g} GB "
        "(matcher.memory)"
    )
