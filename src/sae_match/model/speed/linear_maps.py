"""Linear maps of a frozen model through oneDNN, which comes with torch and is made for the processor at hand.

For float32 torch takes another library, which does not use all that some processors have.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_match.tensors import ONEDNN


class FrozenLinear(nn.Linear):
    """A linear map in float32 on the CPU through oneDNN; of anything else, with gradients or autocast, torch's own."""

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """`x W^T + b`."""
        is_plain = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32 and x.numel() > 0
        if ONEDNN is None or not is_plain or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        product: Tensor = ONEDNN(x, self.weight, self.bias, "none", [], "")
        return product


def freeze_linear_maps(model: nn.Module) -> None:
    """Make every plain linear map of a model a frozen one, in place; weights and their names stay."""
    _turn(model, nn.Linear, FrozenLinear)


def unfreeze_linear_maps(model: nn.Module) -> None:
    """Make them plain again."""
    _turn(model, FrozenLinear, nn.Linear)


def _turn(model: nn.Module, before: type[nn.Module], after: type[nn.Module]) -> None:
    # A class that is derived from `before` may do something else.
    for module in model.modules():
        if type(module) is before:
            module.__class__ = after
