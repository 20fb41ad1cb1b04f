"""What the language model in a GGUF file is, by the file's header."""

from pathlib import Path

import torch

from sae_match.errors import UserError
from sae_match.model.description import ModelDescription
from sae_match.model.gguf.file import ARCHITECTURES, EMBEDDING, ENDING, HEADS_OUT, GGUFFile
from sae_match.model.settings import ModelSettings, refuse_unknown_dtype
from sae_match.saes.sites import Site


def describe_gguf(settings: ModelSettings) -> ModelDescription:
    """What the model in a GGUF file is, by the file's header.

    Raises:
        UserError: If there is no such file, it may not be read, is damaged, or is no language model that
            can be loaded.
    """
    refuse_unknown_dtype(settings.dtype)
    file = GGUFFile.of(settings)
    if file is None:
        raise UserError(f"{settings.source} is no GGUF file (*{ENDING})")
    header = file.header()
    named = header.fields.get
    architecture = str(named("general.architecture"))
    d_in, positions = (named(f"{architecture}.{key}") for key in ("embedding_length", "context_length"))
    tensors = header.tensors
    widths: dict[Site, int] = dict.fromkeys(("residual", "residual_before", "mlp", "attention_output"), int(d_in or 0))
    return ModelDescription(
        architecture=ARCHITECTURES[architecture],
        n_layers=int(named(f"{architecture}.block_count") or 0),
        d_in=int(d_in or 0),
        vocabulary=tensors[EMBEDDING].shape[0],
        parameters=sum(tensor.entries for tensor in tensors.values()),
        parameters_per_layer=sum(tensor.entries for name, tensor in tensors.items() if name.startswith("blk.0.")),
        bytes_per_parameter=getattr(torch, settings.dtype).itemsize,
        positions=positions if isinstance(positions, int) else None,
        has_bos="tokenizer.ggml.bos_token_id" in header.fields,
        widths={**widths, "attention": tensors[HEADS_OUT].shape[1]},
        heads=int(named(f"{architecture}.attention.head_count") or 0),
        inner=max(max(one.shape) for name, one in tensors.items() if name.startswith("blk.0.")),
        files={Path(file.path).name: header.size},
        missing=0 if file.is_here() else header.size,
    )
