"""Hooks that read a value inside a model, or put another in its place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from sae_match.model.anatomy import Place


def hidden(output: Any) -> Tensor:
    """The residual stream in what a decoder layer returns; some return other things beside it."""
    return cast(Tensor, output if isinstance(output, Tensor) else output[0])


def with_hidden(output: Any, value: Tensor) -> Any:
    """What a module returned, the value in the place of what `hidden` finds there."""
    there = value.to(hidden(output).device)
    return there if isinstance(output, Tensor) else (there, *output[1:])


@contextmanager
def hooks() -> Iterator[list[RemovableHandle]]:
    """Hooks that are gone afterwards, whatever happens."""
    handles: list[RemovableHandle] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def reading(place: Place, values: dict[int, Tensor], layer: int, device: torch.device) -> RemovableHandle:
    """Keep a layer's value of each pass, on a device."""

    def keep(value: Tensor) -> None:
        values[layer] = value.to(device)

    if place.is_input:
        return place.module.register_forward_pre_hook(lambda _, inputs: keep(inputs[0]))
    return place.module.register_forward_hook(lambda _module, _inputs, output: keep(hidden(output)))


def replacing(place: Place, value: Tensor) -> RemovableHandle:
    """Put another value in its place."""
    if place.is_input:
        return place.module.register_forward_pre_hook(lambda _, inputs: (value.to(inputs[0].device), *inputs[1:]))
    return place.module.register_forward_hook(lambda _module, _inputs, output: with_hidden(output, value))
