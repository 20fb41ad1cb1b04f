"""Paths: every feature lies on exactly one, because matchings are one-to-one."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int64

from sae_match.report.explorer.data import ExplorerData

#: Layer by its place among those shown, and feature.
Member = tuple[int, int]


def path_numbers(data: ExplorerData) -> list[Int64[np.ndarray, " d_sae"]]:
    """Number of the path of each feature of each layer.

    A feature with a predecessor continues its path. The others begin new ones, numbered in the order of
    layers and features: the page counts in the same way.
    """
    numbers: list[Int64[np.ndarray, " d_sae"]] = []
    known = 0
    for layer, step in zip(data.layers, [None, *data.steps_between()[:-1]], strict=True):
        of_layer = np.full(layer.d_sae, -1, dtype=np.int64)
        if step is not None:
            permutation = step.permutation.numpy(force=True)
            matched = permutation >= 0
            of_layer[permutation[matched]] = numbers[-1][matched]
        new = of_layer < 0
        of_layer[new] = known + np.arange(new.sum())
        known += int(new.sum())
        numbers.append(of_layer)
    return numbers


def paths(data: ExplorerData) -> list[list[Member]]:
    """The features of each path, first layer first, by the path's number."""
    numbers = path_numbers(data)
    members: list[list[Member]] = [[] for _ in range(1 + max(int(of_layer.max(initial=-1)) for of_layer in numbers))]
    for index, of_layer in enumerate(numbers):
        for feature, number in enumerate(of_layer.tolist()):
            members[number].append((index, feature))
    return members


def in_chunks(members: Sequence[list[Member]], features: int) -> Iterator[tuple[int, list[list[Member]]]]:
    """Consecutive paths in chunks of at least so many features, but the last; each with its first number."""
    chunk: list[list[Member]] = []
    held = 0
    for number, path in enumerate(members):
        chunk.append(path)
        held += len(path)
        if held >= features or number == len(members) - 1:
            yield number + 1 - len(chunk), chunk
            chunk, held = [], 0
