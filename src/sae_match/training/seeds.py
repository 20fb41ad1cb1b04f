"""Random generators that follow from what they are for, so that a resumed training draws what it would have drawn."""

import hashlib

import torch


def seeded(*purpose: int | str) -> torch.Generator:
    """A generator on the CPU that depends on `purpose` and on nothing else."""
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    # Less than 2^63, whatever the platform makes of the sign bit.
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
