"""Which solver, in which precision and in blocks of which size: by the problem's size and the memory there is.

Nothing is solved here, and nothing that solves is imported: who only asks what a matching takes waits for no compiler.
"""

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from sae_match.errors import UserError
from sae_match.matching.settings import PRECISION_NAMES, Solver, refuse_unknown_means
from sae_match.matching.tuning import TUNING

__all__ = [
    "EXTRA_ENTRIES",
    "GIGABYTE",
    "PRECISIONS",
    "Plan",
    "Solver",
    "dense_bytes",
    "fast_precision",
    "free_memory",
    "padded",
    "planned",
    "refuse_unknown_means",
    "sparse_bytes",
]

PRECISIONS: dict[str, torch.dtype] = {name: getattr(torch, name) for name in PRECISION_NAMES}

GIGABYTE = 2**30

#: Entries of the sparse solver's copies behind those of a vector: products of both sides' duals, each split into three
#: parts (six products a side), and the threshold.
EXTRA_ENTRIES = 2 * 6 + 1
# Copies are padded to whole multiples of this, in rows and in entries.
_ALIGNMENT = 64


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
    budget = TUNING.memory_share * free_memory(device) if memory is None else memory * GIGABYTE
    whole = dense_bytes(n_source, n_target, width)
    size = f"{n_source} x {n_target} costs"
    faster = solver == "auto" and _dense_is_faster(n_source * n_target, width, precision, device)
    if solver == "dense" or (faster and whole <= budget):
        if whole > budget:
            raise UserError(f"{_needs('dense', whole, budget)}; use solver=sparse")
        return Plan("dense", (), (0, 0), "as asked" if solver == "dense" else f"{size} fit the processor")
    first = _first_precision(precision, device)
    finer = [dtype for dtype in PRECISIONS.values() if dtype.itemsize > first.itemsize]
    height = TUNING.block_rows.on(device)
    block = (height, 2 * height)
    fixed = sparse_bytes(n_source, n_target, width, first) + TUNING.feature_bytes * (n_source + n_target)
    while fixed + _block_bytes(block, first) > budget and block[0] > TUNING.smallest_block:
        block = (block[0] // 2, block[1] // 2)
    if fixed + _block_bytes(block, first) > budget:
        raise UserError(_needs("sparse", fixed + _block_bytes(block, first), budget))
    matrix = f"a matrix of {size} takes {whole / GIGABYTE:.2g} GB"
    small = n_source * n_target <= TUNING.dense_most and whole <= budget
    why = "as asked" if solver == "sparse" else f"{size} are found faster in passes" if small else matrix
    return Plan("sparse", (first, *finer), block, f"{why}; passes in {str(first).removeprefix('torch.')}")


def dense_bytes(n_source: int, n_target: int, width: int) -> int:
    """Memory that the dense solver takes: the costs, and the vectors they are made of."""
    return 8 * (n_source * n_target + 2 * (n_source + n_target) * width)


def sparse_bytes(n_source: int, n_target: int, width: int, precision: torch.dtype) -> int:
    """Memory that the sparse solver's copies of both sides' vectors take in a precision."""
    return (n_source + n_target) * padded(width + EXTRA_ENTRIES) * precision.itemsize


def padded(n: int) -> int:
    """Rows, or entries, of a copy that has room for so many."""
    return -(-n // _ALIGNMENT) * _ALIGNMENT


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a device: of system memory, within the limit set for this process group.

    On a GPU that is what nobody has, and what this process's allocator has kept of what was freed.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
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
    return torch.bfloat16 if TUNING.bfloat16_gain * seconds[torch.bfloat16] < seconds[torch.float32] else torch.float32


def _first_precision(name: str, device: torch.device) -> torch.dtype:
    return fast_precision(device.type) if name == "auto" else PRECISIONS[name]


def _dense_is_faster(pairs: int, width: int, precision: str, device: torch.device) -> bool:
    """Whether one float64 product over all pairs is quicker than the sparse solver's passes."""
    if pairs > TUNING.dense_most:
        return False
    # Asked last: what is fast on a machine is measured.
    return pairs * width <= TUNING.dense_products or _first_precision(precision, device) != torch.bfloat16


def _block_bytes(block: tuple[int, int], precision: torch.dtype) -> int:
    # The products, what is compared with them, and the bits that come of it.
    return block[0] * block[1] * (precision.itemsize + 4)


def _needs(solver: str, needed: int, budget: float) -> str:
    return (
        f"the {solver} solver needs {needed / GIGABYTE:.3g} GB, the memory budget is {budget / GIGABYTE:.3g} GB "
        "(matcher.memory)"
    )
