"""Sizes of a language model, and the small files that say them."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from sae_match.hub import hub_errors
from sae_match.model.settings import ModelSettings
from sae_match.saes.sites import Site


@dataclass(frozen=True)
class ModelSizes:
    """What a language model consists of.

    Attributes:
        architecture: Name of its class.
        n_layers: Decoder layers.
        d_in: Width of the residual stream.
        vocabulary: Tokens that it tells apart.
        parameters: All parameters.
        parameters_per_layer: Parameters of one decoder layer.
        positions: Tokens of the longest text that it is made for; none where its config does not say.
        widths: Entries of each site's value, of the sites that its layers have.
    """

    architecture: str
    n_layers: int
    d_in: int
    vocabulary: int
    parameters: int
    parameters_per_layer: int
    positions: int | None
    widths: dict[Site, int]


def small_file(settings: ModelSettings, name: str) -> Path | None:
    """A small file beside a model's weights, fetched if need be; none where there is none.

    Raises:
        UserError: If the hub cannot be reached or refuses.
    """
    folder = Path(settings.location)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    with hub_errors(settings.source):
        try:
            return Path(hf_hub_download(settings.source, name, revision=settings.revision))
        except EntryNotFoundError:
            return None
