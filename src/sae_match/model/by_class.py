"""Sizes of any language model, by its class: built from its config, without memory for parameters.

It takes seconds to import; `headers` knows the usual models without it.
"""

from contextlib import suppress
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from sae_match.errors import UserError
from sae_match.model.anatomy import Anatomy
from sae_match.model.settings import ModelSettings
from sae_match.model.sizes import ModelSizes, refuse_large_files
from sae_match.saes.sites import SITES, Site


def sizes_by_class(settings: ModelSettings) -> ModelSizes:
    """Sizes of the model that the settings name.

    Raises:
        UserError: If its config cannot be read, or it is built in a way that is not supported.
    """
    refuse_large_files(Path(settings.location))
    try:
        config = AutoConfig.from_pretrained(settings.location, revision=settings.revision)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the config of {settings.source}: {str(error).strip().splitlines()[0]}") from error
    return sizes_of(model)


def sizes_of(model: PreTrainedModel) -> ModelSizes:
    """Sizes of a model that is there.

    Raises:
        UserError: If it is built in a way that is not supported.
    """
    anatomy, text = Anatomy.of(model), model.config.get_text_config()
    return ModelSizes(
        architecture=type(model).__name__,
        n_layers=len(anatomy.layers),
        d_in=int(text.hidden_size),
        vocabulary=int(text.vocab_size),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        parameters_per_layer=sum(parameter.numel() for parameter in anatomy.layers[0].parameters()),
        positions=getattr(text, "max_position_embeddings", None),
        widths=_widths(anatomy, int(text.hidden_size)),
        heads=int(text.num_attention_heads),
        inner=max(max(one.shape) for one in anatomy.layers[0].parameters() if one.ndim > 1),
    )


def _widths(anatomy: Anatomy, hidden_size: int) -> dict[Site, int]:
    widths: dict[Site, int] = {}
    for site in SITES:
        with suppress(UserError):
            anatomy.place(site, 0)
            widths[site] = anatomy.width(site, hidden_size)
    return widths
