"""What attention SAEs write into the residual stream: their rows are heads, which still have to be projected."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.sites import Site


def rows_in_residual(
    stream: ResidualStream, site: Site, layer: int, rows: Float[Tensor, "n d_in"]
) -> Float[Tensor, "n d"]:
    """Directions in which decoder rows of a layer's SAE write into the residual stream; no length is meant.

    Rows of all sites but `attention` lie in the residual stream as they are. Heads go through the model's own output
    projection `W_O` and the scale of the norm behind it, where there is one. How long a norm makes an output depends
    on the token; where it makes it point does not.

    Args:
        stream: The language model.
        site: Where the SAE reads.
        layer: Its layer.
        rows: Decoder rows.

    Raises:
        UserError: If the layer has no such site.
    """
    if site != "attention":
        return rows
    projection = stream.anatomy.place("attention", layer).module
    behind = stream.anatomy.place("attention_output", layer).module
    written = _linear(projection, rows)
    return written if behind is projection or not _is_norm(behind) else _linear(behind, written)


@torch.no_grad()
def _linear(module: nn.Module, rows: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
    """What a module makes of rows beyond what it makes of nothing, on the rows' device."""
    weight = next(module.parameters())
    # Of unit length, so that a norm's guard against division by zero plays no part.
    unit = nn.functional.normalize(rows.double(), dim=-1).to(weight) * rows.shape[-1] ** 0.5
    made: Tensor = module(unit) - module(torch.zeros_like(unit[:1]))
    return made.to(rows)


def _is_norm(module: nn.Module) -> bool:
    """Whether a module only scales what it is given, entry by entry: it has nothing but vectors."""
    return all(parameter.ndim == 1 for parameter in module.parameters())
