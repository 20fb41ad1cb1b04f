"""The look at a model when it is loaded: laid open, it does exactly what it does by itself.

A few tokens show it: two rows, the shorter one padded, longer than a sliding window that is narrowed for the look.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_match.errors import UserError
from sae_match.model.hooks import hooks, with_hidden
from sae_match.model.residual_stream import CleanPass, ResidualStream
from sae_match.model.rows import Arguments

log = logging.getLogger(__name__)

# Token ids that every vocabulary has; few, because all that is asked is whether two ways agree.
_ROWS = ((0, 1, 2, 3, 4, 2, 0, 3, 1), (4, 2, 0, 1, 3))
# What a model reads of its config to bound how far it looks back, and to what it is narrowed for the look.
_WINDOWS = ("sliding_window", "attention_chunk_size")
_NARROW = 4


@torch.no_grad()
def refuse_inexact(stream: ResidualStream, name: str) -> None:
    """See on a few tokens that the model, laid open, does exactly what it does by itself.

    It is resumed twice from every few layers, with residuals that are not its own, once on a padded batch of two rows
    and once on one row: layers that pass anything but the residual stream to each other would show. Each row is
    compared with itself alone. A model whose layers cannot take a batch that is repeated is resumed for one stand-in
    at a time from then on (`ResidualStream.one_at_a_time`).

    Raises:
        UserError: If it does not.
    """
    with narrowed(stream):
        batch, row = (probe(stream, rows) for rows in (_ROWS, _ROWS[:1]))
        named = f"{name} ({type(stream.model).__name__})"
        expected = logits_of(stream, *batch)
        if not torch.isfinite(expected[batch[1]]).all():
            raise UserError(f"{name} gives logits that are not finite; are its weights sound?")
        passes = [stream.capture(*of) for of in (batch, row)]
        for clean, (tokens, mask) in zip(passes, (batch, row), strict=True):
            _refuse_inexact_resuming(stream, named, clean, tokens, mask)
        _refuse_rows_that_depend_on_others(stream, named, expected)
        together = all(map(_each_has_its_rows, passes)) and _agree_side_by_side(stream, passes[0], batch[1])
        stream.one_at_a_time = not together
        if not together:
            log.warning("%s cannot run several arms side by side; one follows another, which takes longer", named)


def _refuse_inexact_resuming(
    stream: ResidualStream,
    named: str,
    clean: CleanPass,
    tokens: Int[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
) -> None:
    for layer in sorted({0, stream.n_layers // 3, 2 * stream.n_layers // 3, stream.n_layers - 1}):
        other = _other(clean.residuals[layer])
        resumed = stream.logits(stream.resume(clean, layer, other))
        with hooks() as handles:
            handles.append(
                stream.layers[layer].register_forward_hook(
                    lambda _module, _inputs, output, other=other: with_hidden(output, other)
                )
            )
            hooked = logits_of(stream, tokens, mask)
        resumed, hooked = resumed.to(hooked.device)[mask], hooked[mask]
        if not torch.equal(resumed, hooked):
            off = float((resumed - hooked).abs().max())
            raise UserError(
                f"{named} cannot be resumed from layer {layer}: its logits come out different by up to {off:.3g}; this "
                "architecture is not supported"
            )


def _refuse_rows_that_depend_on_others(
    stream: ResidualStream, named: str, together: Float[Tensor, "batch seq vocab"]
) -> None:
    for number, row in enumerate(_ROWS):
        alone = logits_of(stream, *probe(stream, (row,)))[0]
        if (off := distance(together[number, : len(row)], alone)) > tolerance(alone):
            raise UserError(
                f"{named} gives a text other logits in a padded batch than alone, by {off:.2g} of their size: what it "
                "computes depends on other texts or on padding; this architecture is not supported"
            )


def _each_has_its_rows(clean: CleanPass) -> bool:
    """Whether whatever the layers were given can be repeated with the batch: it has its rows, or one for all."""
    rows = len(clean.last)
    return all(
        len(tensor) in (1, rows) for given in clean.arguments for tensor in _tensors(_all_of(given)) if tensor.ndim > 1
    )


def _agree_side_by_side(stream: ResidualStream, clean: CleanPass, mask: Bool[Tensor, "batch seq"]) -> bool:
    """Whether two stand-ins, resumed together behind the first layer, give what each gives alone."""
    values = [_other(clean.residuals[0]), clean.residuals[0]]
    together = stream.resume(clean, 0, torch.cat(values)).split(len(mask))
    alone = [stream.resume(clean, 0, value) for value in values]
    return all(distance(some[mask], one[mask]) <= tolerance(one) for some, one in zip(together, alone, strict=True))


def probe(
    stream: ResidualStream, rows: tuple[tuple[int, ...], ...] = _ROWS
) -> tuple[Int[Tensor, "batch seq"], Bool[Tensor, "batch seq"]]:
    """Token ids, padded on the right, where the model reads them, and which are no padding."""
    longest = max(map(len, rows))
    device = stream.model.get_input_embeddings().weight.device
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    mask = torch.tensor([[place < len(row) for place in range(longest)] for row in rows], device=device)
    return tokens, mask


def logits_of(
    stream: ResidualStream, tokens: Int[Tensor, "batch seq"], mask: Bool[Tensor, "batch seq"]
) -> Float[Tensor, "batch seq vocab"]:
    """What the model says by itself."""
    logits: Tensor = stream.model(input_ids=tokens, attention_mask=mask.long(), use_cache=False).logits
    return logits


def _other(residual: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch seq d"]:
    """Residuals of a sound size that are of other tokens."""
    return residual.flip(1)


def distance(some: Tensor, other: Tensor) -> float:
    """How far one is from the other, as a share of its size."""
    some, other = some.float(), other.to(some.device).float()
    return float((some - other).norm() / other.norm().clamp_min(torch.finfo(torch.float32).tiny))


def tolerance(values: Tensor) -> float:
    """What products of other shapes change in the last digits of the model's dtype, many layers one after another."""
    return float(torch.finfo(values.dtype).eps ** 0.5)


def _all_of(arguments: Arguments) -> tuple[Any, ...]:
    return (arguments.positional, arguments.named)


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, dict | tuple | list):
        for value in given.values() if isinstance(given, dict) else given:
            yield from _tensors(value)


@contextmanager
def narrowed(stream: ResidualStream) -> Iterator[None]:
    """The model with its sliding windows, where it has any, narrower than the rows of the look."""
    config = getattr(stream.anatomy.decoder, "config", None)
    holders: list[Any] = [*([] if config is None else [config]), *_with_windows(stream.layers)]
    before = [(holder, name, vars(holder).get(name)) for holder in holders for name in _WINDOWS]
    before = [(holder, name, value) for holder, name, value in before if _is_wide(value)]
    try:
        for holder, name, _ in before:
            setattr(holder, name, _NARROW)
        yield
    finally:
        for holder, name, value in before:
            setattr(holder, name, value)


def _with_windows(layers: nn.ModuleList) -> Iterator[nn.Module]:
    return (module for module in layers.modules() if any(name in vars(module) for name in _WINDOWS))


def _is_wide(window: object) -> bool:
    return isinstance(window, int) and not isinstance(window, bool) and window > _NARROW
