"""Chains of small steps that a GPU runs as one: apart, each of them reads and writes all of a tensor.

Compiled by torch where there is a GPU, and only for large tensors: compiling takes seconds.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

#: Entries of a tensor from which on its steps are fused.
LARGE = 1 << 22
# What torch raises where it cannot compile: its own errors, in which it wraps its backend's, are runtime errors; a part
# of the compiler that is not installed, or a folder that cannot be written, are the others.
_OF_THE_COMPILER = (RuntimeError, ImportError, OSError)
# What float32 and another order of summands may change, as a share of all.
_ROUNDING = 1e-5
# Of a norm's class: it reads one tensor and gives one of the same shape, in many steps.
_NORM = "RMSNorm"
# How a class is known that lets them be fused.
_IS_FUSED = "_lets_steps_be_fused"


class Fused:
    """A function whose steps run as one where that pays, and one after another elsewhere.

    The first time it is held against the function itself. If it cannot be compiled there, or gives something else, the
    function stays as it is from then on.

    Args:
        function: Of tensors, the first of which is the largest; gives a tensor.
        name: What it makes, for the log.
        compiled: The same said otherwise, if that is quicker once it is compiled.
        devices: Types of devices on which its steps are fused.
    """

    #: Entries of the first tensor from which on steps are fused.
    large: float = LARGE

    def __init__(
        self,
        function: Callable[..., Tensor],
        name: str,
        compiled: Callable[..., Tensor] | None = None,
        devices: Iterable[str] = ("cuda",),
    ) -> None:
        self.function, self.name, self.devices = function, name, frozenset(devices)
        self._to_compile = compiled or function
        self._compiled: Callable[..., Tensor] | None = None
        self._refused = False

    def __call__(self, *given: Any) -> Tensor:
        """What the function gives."""
        first = next(one for one in given if isinstance(one, Tensor))
        pays = first.device.type in self.devices and first.numel() >= self.large and not torch.is_grad_enabled()
        if self._refused or not pays:
            return self.function(*given)
        return self._first(*given) if self._compiled is None else self._compiled(*given)

    def _first(self, *given: Any) -> Tensor:
        compiled = torch.compile(self._to_compile)
        # The function may work in place.
        kept = [one.clone() if isinstance(one, Tensor) else one for one in given]
        try:
            found = compiled(*given)
        except torch.OutOfMemoryError:
            # Not the compiler's doing; plain steps take more.
            raise
        except _OF_THE_COMPILER as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            log.warning("%s takes longer than it could: torch cannot compile it here (%s)", self.name, reason)
            self._refused = True
            return self.function(*kept)
        expected = self.function(*kept)
        apart = float((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-30))
        # The function rounds after every step that is not in float32, the fused one only at the end.
        if not apart <= max(_ROUNDING, 4 * torch.finfo(expected.dtype).eps):
            log.warning("%s takes longer than it could: compiled, it differs by %.2g of its size", self.name, apart)
            self._refused = True
            return expected
        self._compiled = compiled
        return found


def fuse_from(entries: float | int) -> None:
    """Fuse the steps of tensors of so many entries and more, in this process; of infinitely many, never."""
    Fused.large = entries


def fuse_norms(model: nn.Module) -> None:
    """Let the steps of a frozen model's norms be fused, in place; weights and their names stay."""
    made: dict[type[nn.Module], type[nn.Module]] = {}
    for module in model.modules():
        own = type(module)
        if own.__name__.endswith(_NORM):
            if own not in made:
                made[own] = _with_fused_steps(own)
            module.__class__ = made[own]


def unfuse_norms(model: nn.Module) -> None:
    """Make them plain again."""
    for module in model.modules():
        if _IS_FUSED in vars(type(module)):
            module.__class__ = type(module).__bases__[0]


def _with_fused_steps(norm: type[nn.Module]) -> type[nn.Module]:
    fused = Fused(norm.forward, norm.__name__)

    def forward(self: nn.Module, *given: Any, **named: Any) -> Tensor:
        # A norm that is given more than its input is another function.
        plain = named or len(given) != 1
        found: Tensor = norm.forward(self, *given, **named) if plain else fused(self, *given)
        return found

    return type(norm.__name__, (norm,), {"forward": forward, "__module__": norm.__module__, _IS_FUSED: True})
