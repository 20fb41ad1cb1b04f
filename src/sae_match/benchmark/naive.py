"""The validation as one would write it down first: plain hooks, one full forward for each arm, sums in numpy.

It shares nothing with `sae_match.evaluation` but the matchings and the fitted maps that it is given.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sae_match.saes.folding import fold_threshold
from sae_match.saes.sae import SAE
from sae_match.text.batches import TokenBatch

StandIn = Callable[[Tensor, Tensor], Tensor]
"""From the residuals of the source layer and the true ones of the target layer to what stands in for these."""


@dataclass(frozen=True)
class NaiveArm:
    """An arm of a pair of layers.

    Attributes:
        stand_in: What it puts in place of the target layer's residual.
        active: For a matching arm, whether the source feature and both features of each pair are active.
    """

    stand_in: StandIn
    active: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None


def by_permutation(source: SAE, target: SAE, permutation: Tensor, *, folded: bool) -> NaiveArm:
    """Encode, permute, decode."""
    encoder, decoder = (fold_threshold(source), fold_threshold(target)) if folded else (source, target)

    def stand_in(x_source: Tensor, _: Tensor) -> Tensor:
        sent = torch.zeros(*x_source.shape[:-1], target.d_sae)
        return decoder.decode(sent.index_add_(-1, permutation, encoder.encode(x_source)))

    def active(x_source: Tensor, x_target: Tensor) -> tuple[Tensor, Tensor]:
        first = source.encode(x_source) > 0
        return first, first & (target.encode(x_target) > 0)[..., permutation]

    return NaiveArm(stand_in, active)


def partly_matched(source: SAE, target: SAE, permutation: Tensor, chosen: Tensor) -> NaiveArm:
    """Chosen pairs through the target's decoder, the others through the source's."""
    before, after = fold_threshold(source), fold_threshold(target)

    def stand_in(x_source: Tensor, _: Tensor) -> Tensor:
        f = before.encode(x_source)
        sent = torch.zeros(*x_source.shape[:-1], target.d_sae).index_add_(-1, permutation, f * chosen)
        return after.decode(sent) + (f * ~chosen) @ before.W_dec

    return NaiveArm(stand_in)


def swapped(source: SAE, target: SAE, permutation: Tensor, chosen: Tensor) -> NaiveArm:
    """The source residual less chosen features' rows, plus their partners'."""
    before, after = fold_threshold(source), fold_threshold(target)

    def stand_in(x_source: Tensor, _: Tensor) -> Tensor:
        f = before.encode(x_source) * chosen
        sent = torch.zeros(*x_source.shape[:-1], target.d_sae).index_add_(-1, permutation, f)
        return x_source - f @ before.W_dec + sent @ after.W_dec

    return NaiveArm(stand_in)


def clean_loss(model: nn.Module, batches: Sequence[TokenBatch]) -> float:
    """Mean next-token loss of the unaltered model on the scored tokens."""
    return float(np.concatenate([_losses(model, batch) for batch in batches]).mean())


def measure(
    model: nn.Module, layers: nn.ModuleList, pair: tuple[int, int], arm: NaiveArm, batches: Sequence[TokenBatch]
) -> dict[str, float]:
    """Loss, explained variance and change, matching score of an arm: one full forward of the model a batch."""
    x, x_hat, before, losses, active, joint = [], [], [], [], 0.0, 0.0
    for batch in batches:
        seen: dict[str, Tensor] = {}
        with _standing_in(layers, pair, arm.stand_in, batch, seen):
            losses.append(_losses(model, batch))
        scored = batch.scored
        x.append(seen["target"][scored].numpy().astype(np.float64))
        before.append(seen["source"][scored].numpy().astype(np.float64))
        x_hat.append(seen["stand_in"][scored].numpy().astype(np.float64))
        if arm.active is not None:
            first, both = arm.active(seen["source"][scored], seen["target"][scored])
            active, joint = active + float(first.sum()), joint + float(both.sum())
    true, error = np.concatenate(x), np.concatenate(x_hat) - np.concatenate(x)
    change = np.concatenate(before) - true
    found = {
        "loss": float(np.concatenate(losses).mean()),
        "explained_variance": float(1 - error.var(axis=0).sum() / true.var(axis=0).sum()),
        "explained_change": float(1 - error.var(axis=0).sum() / change.var(axis=0).sum()),
    }
    return found if arm.active is None else {**found, "matching_score": joint / active}


@contextmanager
def _standing_in(
    layers: nn.ModuleList, pair: tuple[int, int], stand_in: StandIn, batch: TokenBatch, seen: dict[str, Tensor]
) -> Iterator[None]:
    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen["source"] = output

    def replace(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        seen["target"] = output
        seen["stand_in"] = stand_in(seen["source"], output)
        return torch.where(batch.scored[..., None], seen["stand_in"], output)

    handles = [layers[pair[0]].register_forward_hook(keep), layers[pair[1]].register_forward_hook(replace)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _losses(model: nn.Module, batch: TokenBatch) -> np.ndarray:
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask.long(), use_cache=False).logits
    losses = nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch.input_ids[:, 1:].flatten(), reduction="none"
    )
    wanted = (batch.scored[:, :-1] & batch.scored[:, 1:]).flatten()
    found: np.ndarray = losses[wanted].numpy().astype(np.float64)
    return found
