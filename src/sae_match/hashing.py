"""What hashes of tensors are made of."""

from collections.abc import Iterator

import torch
from torch import Tensor


def hashed_parts(name: str, tensor: Tensor) -> Iterator[bytes | memoryview]:
    """A tensor's name, dtype, shape and every byte of it, wherever it lies."""
    yield f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
    yield tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
