"""What a language model is, by its config and its file list: nothing else is downloaded."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.hub import cached_file

from sae_match.errors import UserError
from sae_match.hub import hub_errors
from sae_match.model.anatomy import Anatomy
from sae_match.model.loading import DTYPES
from sae_match.model.settings import ModelSettings
from sae_match.saes.sites import SITES, Site

_WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True)
class ModelDescription:
    """Sizes of a language model.

    Attributes:
        architecture: Name of its class.
        n_layers: Decoder layers.
        d_in: Width of the residual stream.
        vocabulary: Tokens that it tells apart.
        parameters: All parameters.
        parameters_per_layer: Parameters of one decoder layer.
        bytes_per_parameter: In the dtype that it is loaded in.
        positions: Tokens of the longest text that it is made for; none where its config does not say.
        has_bos: False if its tokenizer says that it has no BOS token; none where that is not known.
        widths: Entries of each site's value, of the sites that its layers have.
        files: Weight files and their bytes.
        missing: Bytes of them that are still to be downloaded.
    """

    architecture: str
    n_layers: int
    d_in: int
    vocabulary: int
    parameters: int
    parameters_per_layer: int
    bytes_per_parameter: int
    positions: int | None
    has_bos: bool | None
    widths: dict[Site, int]
    files: dict[str, int]
    missing: int

    @property
    def bytes(self) -> int:
        """Memory of the loaded model."""
        return self.parameters * self.bytes_per_parameter


def describe_model(settings: ModelSettings) -> ModelDescription:
    """Sizes of the model that the settings name.

    Raises:
        UserError: If there is no such model, it may not be read, or it is built in a way that is not
            supported.
    """
    if settings.dtype not in DTYPES:
        raise UserError(f"model.dtype must be one of {', '.join(DTYPES)}, got {settings.dtype!r}")
    files, missing = _weight_files(settings)
    try:
        config = AutoConfig.from_pretrained(settings.location, revision=settings.revision)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the config of {settings.source}: {str(error).strip().splitlines()[0]}") from error
    anatomy, text = Anatomy.of(model), config.get_text_config()
    return ModelDescription(
        architecture=type(model).__name__,
        n_layers=len(anatomy.layers),
        d_in=int(text.hidden_size),
        vocabulary=int(text.vocab_size),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        parameters_per_layer=sum(parameter.numel() for parameter in anatomy.layers[0].parameters()),
        bytes_per_parameter=DTYPES[settings.dtype].itemsize,
        positions=getattr(text, "max_position_embeddings", None),
        has_bos=_has_bos(settings),
        widths=_widths(anatomy, int(text.hidden_size)),
        files=files,
        missing=missing,
    )


def _has_bos(settings: ModelSettings) -> bool | None:
    """Whether the tokenizer has a BOS token, where its small config says so: kinds with a default leave it out."""
    with hub_errors(settings.source):
        file = cached_file(
            settings.location,
            "tokenizer_config.json",
            revision=settings.revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    try:
        said = {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is damaged or no JSON file ({error}); fetch the model again") from error
    return said["bos_token"] is not None if "bos_token" in said else None


def _widths(anatomy: Anatomy, hidden_size: int) -> dict[Site, int]:
    widths: dict[Site, int] = {}
    for site in SITES:
        with suppress(UserError):
            anatomy.place(site, 0)
            widths[site] = anatomy.width(site, hidden_size)
    return widths


def _weight_files(settings: ModelSettings) -> tuple[dict[str, int], int]:
    """Bytes of each weight file, and how many of all are not on this machine."""
    folder = Path(settings.location)
    if folder.is_dir():
        return _weights_among({file.name: file.stat().st_size for file in folder.iterdir()}, str(folder)), 0
    with hub_errors(settings.source):
        info = HfApi().model_info(settings.source, revision=settings.revision, files_metadata=True)
    sizes = _weights_among({file.rfilename: file.size or 0 for file in info.siblings or []}, settings.source)
    absent = [name for name in sizes if try_to_load_from_cache(settings.source, name, revision=info.sha) is None]
    return sizes, sum(sizes[name] for name in absent)


def _weights_among(files: dict[str, int], where: str) -> dict[str, int]:
    """The files that hold the weights, of the best kind that there is."""
    for suffix in _WEIGHTS:
        sizes = {name: size for name, size in sorted(files.items()) if name.endswith(suffix) and "/" not in name}
        if sizes:
            return sizes
    raise UserError(f"{where} holds no weights ({' or '.join(f'*{suffix}' for suffix in _WEIGHTS)})")
