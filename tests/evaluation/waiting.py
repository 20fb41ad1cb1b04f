"""What makes a host wait for a device, found where there is only a CPU, which waits for nothing.

Whatever needs to know a number that the device has: a copy to the host, a decision by a tensor, a shape that follows
from values. On a GPU the host stops until all that was asked for before is done.

On the CPU a copy to the CPU is none, so that nothing sees it. `elsewhere` takes things to a device that is not the
CPU and has no values: reading one raises there, as do tensors of two devices in one operation.
"""

from collections import Counter
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

_READS = {
    "aten._local_scalar_dense",
    "aten._unique2",
    "aten.bincount",
    "aten.equal",
    "aten.is_nonzero",
    "aten.masked_select",
    "aten.nonzero",
    "aten.unique_consecutive",
}
_INDEXES = {"aten.index", "aten.index_put", "aten.index_put_", "aten._index_put_impl_"}


class Waits(TorchDispatchMode):
    """Counts what makes a host wait, by the name of the operation, while it is entered."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function).rsplit(".", 1)[0]
        if name in _READS:
            self.found[name] += 1
        if name in _INDEXES and any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1]):
            self.found[f"{name} by a mask"] += 1
        given = function(*args, **(kwargs or {}))
        if isinstance(given, torch.Tensor) and given.device.type == "cpu":
            self.found["to the CPU"] += any(isinstance(one, torch.Tensor) and one.device.type != "cpu" for one in args)
        # Without what was counted as none.
        self.found = +self.found
        return given


def elsewhere(thing):
    """Tensors, and what holds them, on a device without values; they are used inside `without_values`."""
    if isinstance(thing, torch.nn.Module):
        return deepcopy(thing)._apply(elsewhere)
    if hasattr(thing, "to"):
        return thing.to(torch.device("meta"))
    if is_dataclass(thing):
        return replace(thing, **{one.name: elsewhere(getattr(thing, one.name)) for one in fields(thing) if one.init})
    if isinstance(thing, dict):
        return {name: elsewhere(one) for name, one in thing.items()}
    if isinstance(thing, list | tuple):
        return type(thing)(map(elsewhere, thing))
    return thing


def without_values():
    """Tensors have no values inside, and two devices are told apart."""
    return FakeTensorMode(allow_non_fake_inputs=True)
