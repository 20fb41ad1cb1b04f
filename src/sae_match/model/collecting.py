"""Values of some layers of a model that is run no further than the last of them."""

from collections.abc import Collection
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_match.errors import UserError
from sae_match.model.hooks import hooks, reading
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sites import Site

# Of the residual stream's norm, what sums of its parts may be off by.
_ROUNDING = 2e-2


def values_of(
    stream: ResidualStream,
    input_ids: Int[Tensor, "batch seq"],
    attention_mask: Bool[Tensor, "batch seq"] | None,
    layers: Collection[int],
    site: Site = "residual",
) -> dict[int, Float[Tensor, "batch seq d_in"]]:
    """Each layer's value of a site, on the device of the token ids; no layer behind them is run.

    Args:
        stream: The language model.
        input_ids: Token ids, where the model's input is.
        attention_mask: True on tokens, false on padding.
        layers: Which layers.
        site: Which value.

    Raises:
        UserError: If the model does not know a token, or has no such site.
    """
    tokens = input_ids if attention_mask is None else input_ids[attention_mask]
    if tokens.numel() and (largest := int(tokens.max())) >= stream.vocabulary:
        raise UserError(
            f"the tokenizer made the token {largest} of the text, and the model's embedding matrix has "
            f"{stream.vocabulary} rows; take the model's own tokenizer, or name another text.bos"
        )
    return dict(stream.capture(input_ids, attention_mask, site, layers, whole=False).values)


class Added(NamedTuple):
    """What makes up the residual stream after a layer: `after` is the sum of the others, to rounding.

    Attributes:
        before: The residual stream that the layer reads.
        attention: What its attention adds.
        mlp: What its MLP adds.
        after: The residual stream after it.
    """

    before: Float[Tensor, "batch seq d"]
    attention: Float[Tensor, "batch seq d"]
    mlp: Float[Tensor, "batch seq d"]
    after: Float[Tensor, "batch seq d"]


def added_by(
    stream: ResidualStream,
    input_ids: Int[Tensor, "batch seq"],
    attention_mask: Bool[Tensor, "batch seq"] | None,
    layers: Collection[int],
) -> dict[int, Added]:
    """What each of the layers' modules adds to the residual stream, in one pass; no layer behind them is run.

    Args:
        stream: The language model.
        input_ids: Token ids, where the model's input is.
        attention_mask: True on tokens, false on padding.
        layers: Which layers.

    Raises:
        UserError: If a layer has no such modules, or adds anything else.
    """
    attention: dict[int, Tensor] = {}
    mlp: dict[int, Tensor] = {}
    here, kept = input_ids.device, {*layers, *(layer - 1 for layer in layers if layer)}
    with hooks() as handles:
        for layer in layers:
            handles += [
                reading(stream.anatomy.place("attention_output", layer), attention, layer, here),
                reading(stream.anatomy.place("mlp", layer), mlp, layer, here),
            ]
        clean = stream.capture(input_ids, attention_mask, keep=kept, whole=False)
    found = {
        layer: Added(clean.before(layer), attention[layer], mlp[layer], clean.residuals[layer]) for layer in layers
    }
    for layer, one in found.items():
        _refuse_other_sum(layer, one)
    return found


def _refuse_other_sum(layer: int, one: Added) -> None:
    """Check that a layer adds what its attention and its MLP give, and nothing else."""
    after = one.after.float()
    left = one.before.float() + one.attention.float() + one.mlp.float() - after
    # Half precision keeps three digits of each term.
    if not float(left.norm()) <= _ROUNDING * float(after.norm()):
        raise UserError(
            f"layer {layer} of this model adds more to the residual stream than its attention and its MLP give, or "
            "scales them: what each contributes cannot be told"
        )
