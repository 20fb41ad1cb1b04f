"""Where a language model keeps its decoder layers, and the places in a layer that SAEs read."""

from dataclasses import dataclass
from typing import cast

from torch import nn
from transformers import PreTrainedModel

from sae_match.errors import UserError
from sae_match.model.names import FINAL_NORMS, LAYERS, candidates, module_of
from sae_match.saes.sites import Site

_INPUT_NORMS = ("input_layernorm", "ln_1")


@dataclass(frozen=True)
class Place:
    """A value inside a decoder layer: the output of one of its modules, or the input.

    Attributes:
        module: The module.
        is_input: Whether the value is what goes into it.
    """

    module: nn.Module
    is_input: bool


@dataclass(frozen=True)
class Anatomy:
    """The parts of a causal language model.

    Attributes:
        decoder: From token ids to the last residual stream, final norm included; of a model that sees
            images as well, the part that reads text.
        layers: Its decoder layers.
        final_norm: What the last residual stream goes through.
        head: From there to logits.
        softcap: Bound that logits are squashed into (Gemma 2), or none.
    """

    decoder: nn.Module
    layers: nn.ModuleList
    final_norm: nn.Module
    head: nn.Module
    softcap: float | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Anatomy":
        """The parts of a model: Gemma, Llama, Qwen, Mistral, GPT-2, GPT-NeoX and what is built like them.

        Raises:
            UserError: If the model is built differently.
        """
        base = model.base_model
        decoder = cast(nn.Module, getattr(base, "language_model", base))
        layers, final_norm = _first(decoder, LAYERS), _first(decoder, FINAL_NORMS)
        head = model.get_output_embeddings()
        if not isinstance(layers, nn.ModuleList) or final_norm is None or head is None:
            raise UserError(
                f"{type(model).__name__} is built like none of the models that are known here: a decoder with "
                f"{' or '.join(LAYERS)}, a final norm ({', '.join(FINAL_NORMS)}) and a head"
            )
        config = model.config.get_text_config()
        return cls(decoder, layers, final_norm, head, getattr(config, "final_logit_softcapping", None))

    def place(self, site: Site, layer: int) -> Place:
        """Where a layer's value of a site stands.

        Raises:
            UserError: If the layer has no such place, or there is no such site.
        """
        module = self.layers[layer]
        name = module_of(site, lambda name: _first(module, (name,)) is not None)
        if name is None:
            names = " or ".join(candidates(site))
            raise UserError(f"{type(module).__name__} has no {names}, where site {site!r} would be")
        return Place(module.get_submodule(name), is_input=site in ("residual_before", "attention"))

    def reading_norm(self, site: Site, layer: int) -> nn.Module | None:
        """The norm through which the next block reads a layer's value of a site, with its weights.

        Of the residual stream after a layer it is the one that the next layer's attention reads, after the last layer
        the final norm; of the stream before a layer, that layer's own. In models whose attention and MLP stand side by
        side it is the norm of both. None of values that no norm reads (what an attention or an MLP gives), and none in
        models that have their norms behind their blocks.
        """
        if site == "residual" and layer == len(self.layers) - 1:
            return self.final_norm
        if site not in ("residual", "residual_before"):
            return None
        return _first(self.layers[layer + (site == "residual")], _INPUT_NORMS)

    def width(self, site: Site, hidden_size: int) -> int:
        """Entries of a site's value."""
        if site != "attention":
            return hidden_size
        projection = self.place(site, 0).module
        if isinstance(projection, nn.Linear):
            return projection.in_features
        # GPT-2 keeps this matrix the other way round.
        return int(cast(nn.Parameter, projection.weight).shape[0])


def _first(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    """The first of several submodules, each a path of attributes, that exists."""
    for name in names:
        found: object = module
        for step in name.split("."):
            found = getattr(found, step, None)
        if isinstance(found, nn.Module):
            return found
    return None
