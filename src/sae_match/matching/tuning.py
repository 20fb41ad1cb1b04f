"""Sizes and shares that decide how fast a matching is found, never which, nor what is proven about it."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ByDevice:
    """A size on a processor, and on a GPU."""

    cpu: int
    gpu: int

    def on(self, device: torch.device) -> int:
        """The size on a device."""
        return self.cpu if device.type == "cpu" else self.gpu


@dataclass(frozen=True)
class Tuning:
    """TODO."""

    memory_share: float = 0.8
    feature_bytes: int = 20_000
    dense_most: int = 4096**2
    dense_products: int = 10**9
    bfloat16_gain: float = 1.5
    block_rows: ByDevice = ByDevice(2048, 8192)
    smallest_block: int = 64
    dense_entries: ByDevice = ByDevice(2**18, 2**24)
    parameter_rows: ByDevice = ByDevice(32, 8192)
    vector_rows: int = 256
    groups: int = 16
    first_pairs: int = 12
    sparse_pairs: int = 64
    dense_pairs: int = 24
    usual_width: int = 16_384
    growth: float = 0.4
    most_growth: float = 1.75
    most_pairs: int = 256
    room: int = 8_000_000
    sampled_rows: int = 256
    above: float = 0.01
    largest_part: float = 0.6
    part_shares: tuple[float, ...] = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
    length_groups: int = 128
    bids: int = 40
    cosine: float = 0.5
    near: float = 0.01
    near_radii: float = 4.0
    known: float = 1e-10
    exact_pairs: int = 6
    closed: float = 1e-9
    most_rounds: int = 40


TUNING = Tuning()
