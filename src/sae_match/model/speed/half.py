"""Half precision on a processor that has no instructions for it: many times slower, and nothing says so."""

import logging
import time

import torch

log = logging.getLogger(__name__)

# Rows, what is summed over, and columns of the products that are timed: milliseconds where there are instructions.
_SIZE = (256, 512, 512)
_REPEATS = 3
# Below this a difference is the machine's noise.
_SLOWER = 1.5


def half_over_single(repeats: int = _REPEATS) -> float:
    """Time of a product in bfloat16 on this processor, over that of the same product in float32; the least of a few."""
    rows, inner, columns = _SIZE
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    return _seconds(left.bfloat16(), right.bfloat16(), repeats) / _seconds(left, right, repeats)


def warn_where_half_is_slow(device: torch.device, setting: str, instead: str) -> None:
    """Say that half precision costs time here, where it does.

    Args:
        device: Where the model runs.
        setting: What asks for half precision, as the user has spelled it.
        instead: What to say for float32.
    """
    if device.type == "cpu" and (ratio := half_over_single()) > _SLOWER:
        log.warning(
            "%s: this processor multiplies in bfloat16 %.0f times as slowly as in float32; say %s",
            setting,
            ratio,
            instead,
        )


def _seconds(left: torch.Tensor, right: torch.Tensor, repeats: int) -> float:
    """Seconds of a product; the first, which sets up, does not count."""
    left @ right
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        left @ right
        took.append(time.perf_counter() - began)
    return min(took)
