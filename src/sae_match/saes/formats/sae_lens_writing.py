"""An SAE or a transcoder into a folder that the package sae-lens opens."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from sae_match.errors import UserError
from sae_match.files import written_whole
from sae_match.saes.folding import fold_scale
from sae_match.saes.sae import SAE, CrosscoderView, Transcoder

_CONFIG, _WEIGHTS = "cfg.json", "sae_weights.safetensors"
_MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")
_NORMS = {"none": "none", "layer_norm": "layer_norm", "constant_norm": "constant_norm_rescale"}
_ARCHITECTURES = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk"}
# The first version with this layout; configs that name no version are read as those before it.
_VERSION = "6.0.0"


def save(sae: SAE, folder: Path, *, model_name: str, hook_name: str, **metadata: Any) -> Path:
    """Write one SAE so that the package sae-lens opens it; returns the folder.

    A TopK SAE that ranks its values by a scale is written with its features in the units of the ranking.

    Args:
        sae: On raw activations, as all SAEs here.
        folder: The SAE's own folder.
        model_name: Language model that the SAE reads.
        hook_name: Where it reads, such as `blocks.3.hook_resid_post`.
        metadata: Whatever else is to be known about the SAE; values that JSON can hold.

    Raises:
        UserError: If the folder cannot be written.
    """
    if isinstance(sae, CrosscoderView) or (isinstance(sae, Transcoder) and sae.activation == "topk"):
        raise UserError(f"SAELens' layout holds no {type(sae).__name__} with {sae.activation!r}")
    if sae.rank_scale is not None:
        sae = fold_scale(sae, torch.reciprocal(sae.rank_scale))
    names = (*_MATRICES, "threshold") if sae.activation == "jumprelu" else _MATRICES
    tensors = {name: sae.tensors()[name].detach().cpu().contiguous() for name in names}
    config: dict[str, Any] = {
        "architecture": _architecture_of(sae),
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": str(sae.W_enc.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": _NORMS[sae.input_norm],
        "reshape_activations": "hook_z" if hook_name.endswith("hook_z") else "none",
        "metadata": {"sae_lens_version": _VERSION, **metadata, "model_name": model_name, "hook_name": hook_name},
    }
    if isinstance(sae, Transcoder):
        config["d_out"] = sae.d_in
        if sae.W_skip is not None:
            tensors["W_skip"] = sae.W_skip.detach().cpu().T.contiguous()
    if sae.k is not None:
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    with written_whole(folder / _WEIGHTS) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:
            raise OSError(str(error)) from error
    with written_whole(folder / _CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def _architecture_of(sae: SAE) -> str:
    if not isinstance(sae, Transcoder):
        return _ARCHITECTURES[sae.activation]
    kind = "transcoder" if sae.W_skip is None else "skip_transcoder"
    return f"jumprelu_{kind}" if sae.activation == "jumprelu" else kind
