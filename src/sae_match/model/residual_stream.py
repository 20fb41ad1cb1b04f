"""Capture the residual stream after every decoder layer, and resume the model from any of them."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

#: Positions whose logits exist at one time: few enough to stay in a processor's cache, more on a GPU.
_LOGIT_BLOCK = {"cpu": 256}
_LOGIT_BLOCK_ELSEWHERE = 2048


@dataclass(frozen=True)
class CleanPass:
    """What one unaltered pass of the model leaves.

    Attributes:
        residuals: `x_0 … x_{L-1}`, the residual stream after each decoder layer (`method.md`:
            the last is taken before the final norm).
        arguments: Keyword arguments that each decoder layer was called with (masks, positions),
            replayed when the model resumes, so that a resumed pass is exact.
    """

    residuals: tuple[Float[Tensor, "batch seq d_in"], ...]
    arguments: tuple[dict[str, Any], ...]


class ResidualStream(nn.Module):
    """A frozen causal language model with its decoder layers laid open.

    Args:
        model: A Gemma 2 model as `transformers` loads it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.layers = cast(nn.ModuleList, model.base_model.layers)
        self.final_norm = cast(nn.Module, model.base_model.norm)
        self.head: nn.Module = model.get_output_embeddings()
        self.softcap: float | None = getattr(model.config, "final_logit_softcapping", None)

    @property
    def n_layers(self) -> int:
        """Number of decoder layers, `L`."""
        return len(self.layers)

    @property
    def d_in(self) -> int:
        """Width of the residual stream, `d`."""
        return int(self.model.config.hidden_size)

    def train(self, mode: bool = True) -> "ResidualStream":
        """Stay in evaluation mode whatever a trainer asks for: this model is never trained."""
        return super().train(False)

    @torch.no_grad()
    def capture(
        self, input_ids: Int[Tensor, "batch seq"], attention_mask: Bool[Tensor, "batch seq"] | None = None
    ) -> CleanPass:
        """Run the decoder once and keep every residual stream."""
        residuals: list[Tensor] = []
        arguments: list[dict[str, Any]] = []

        def keep(_layer: nn.Module, _args: Any, kwargs: dict[str, Any], output: Tensor) -> None:
            residuals.append(output)
            arguments.append({name: value for name, value in kwargs.items() if name != "hidden_states"})

        handles = [layer.register_forward_hook(keep, with_kwargs=True) for layer in self.layers]
        try:
            mask = None if attention_mask is None else attention_mask.long()
            self.model.base_model(input_ids=input_ids, attention_mask=mask, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return CleanPass(tuple(residuals), tuple(arguments))

    @torch.no_grad()
    def resume(
        self, clean: CleanPass, layer: int, residual: Float[Tensor, "batch seq d_in"]
    ) -> Float[Tensor, "batch seq d_in"]:
        """Run layers `layer + 1 … L - 1` on a stand-in for `x_layer`; returns the last residual.

        Args:
            clean: The clean pass over the same tokens.
            layer: The layer whose output is replaced, `0 … L - 1`.
            residual: What stands in for `x_layer`, in the model's dtype.
        """
        x = residual
        for following in range(layer + 1, self.n_layers):
            x = self.layers[following](x, **clean.arguments[following])
        return x

    @torch.no_grad()
    def next_token_losses(
        self, last_residual: Float[Tensor, "batch seq d_in"], input_ids: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq-1"]:
        """Cross-entropy of each next token in nats, float32.

        The logits exist for a block of positions at a time, never for a whole batch.
        """
        states = last_residual[:, :-1].flatten(0, 1)
        targets = input_ids[:, 1:].flatten()
        block = _LOGIT_BLOCK.get(states.device.type, _LOGIT_BLOCK_ELSEWHERE)
        losses = [
            nn.functional.cross_entropy(self.logits(some).float(), wanted, reduction="none")
            for some, wanted in zip(states.split(block), targets.split(block), strict=True)
        ]
        return torch.cat(losses).view(input_ids.shape[0], -1)

    def logits(self, last_residual: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch vocab"]:
        """Final norm, head and Gemma 2's soft cap."""
        logits: Tensor = self.head(self.final_norm(last_residual))
        if self.softcap is not None:
            logits = logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits
