"""EleutherAI sparsify's layout: `{hookpoint}/` with `cfg.json` and `sae.safetensors`, TopK."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sae_match.errors import UserError, shown
from sae_match.saes.formats.shared.building import build, on_shifted_input, refuse_contradiction
from sae_match.saes.formats.shared.describing import SAEDescription, described_by
from sae_match.saes.formats.shared.hub import fetch
from sae_match.saes.formats.shared.kinds import refuse_other_names
from sae_match.saes.formats.shared.layouts import Layout
from sae_match.saes.formats.shared.places import agreed_place, said_by_folder
from sae_match.saes.formats.shared.reading import (
    in_folder,
    matrix,
    read_json,
    read_safetensors,
    stated,
    tensor,
    truth,
    whole,
)
from sae_match.saes.sae import SAE

LAYOUT = Layout(r"(?P<path>(?:.*/)?)sae\.safetensors", ("cfg.json",), "layers.3/sae.safetensors")
_TENSORS = ("encoder.weight", "encoder.bias", "W_dec", "b_dec")


def load(source: str, *, layer: int, path: str = "layers.{layer}", revision: str | None = None) -> SAE:
    """Load one SAE from a folder or a hub repository in sparsify's layout.

    Args:
        source: A folder, or a repository such as `EleutherAI/sae-llama-3-8b-32x`.
        layer: Decoder layer that the SAE belongs to.
        path: The SAE's folder inside the source, with `{layer}` where the layer's number goes.
        revision: Commit, tag or branch of the repository.

    Raises:
        UserError: If there is no such SAE, a file is not sound, config and tensors contradict each
            other, or it is a transcoder or of another activation.
    """
    config_path, weights_path = paths(layer=layer, path=path)
    config_file = fetch(source, config_path, revision)
    config = read_json(config_file)
    agreed_place(layer, said_by_folder(source, config_path))
    _refuse_other_kinds(config_file, config)
    file = fetch(source, weights_path, revision)
    tensors = read_safetensors(file)
    refuse_other_names(file, tensors, _TENSORS)
    sae = build(
        file,
        W_enc=matrix(file, tensors, "encoder.weight").T,
        b_enc=tensor(file, tensors, "encoder.bias"),
        W_dec=tensor(file, tensors, "W_dec"),
        b_dec=tensor(file, tensors, "b_dec"),
        activation="topk",
        k=whole(config_file, config, "k"),
    )
    sizes = {"d_in": stated(config_file, config, "d_in"), "d_sae": _latents(config_file, config)}
    refuse_contradiction(config_file, sae, **sizes)
    return on_shifted_input(sae)


def describe(source: str, *, layer: int, path: str, revision: str | None) -> SAEDescription:
    """What the SAE is, by its config and its folder's name, the hook point; arguments as for `load`."""
    config_path = paths(layer=layer, path=path)[0]
    file = fetch(source, config_path, revision)
    config = read_json(file)
    place = agreed_place(layer, said_by_folder(source, config_path))
    said = described_by(file, config, d_in="d_in", d_sae="", hook=place)
    return replace(said, d_sae=_latents(file, config), has_thresholds=False)


def paths(*, layer: int, path: str) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    return [in_folder(path, layer, "cfg.json"), in_folder(path, layer, "sae.safetensors")]


def _latents(file: Path, config: dict[str, Any]) -> int | None:
    """Number of features; `num_latents` of zero means a multiple of the input's width."""
    latents, d_in, factor = (stated(file, config, key) for key in ("num_latents", "d_in", "expansion_factor"))
    if latents:
        return latents
    return None if d_in is None or factor is None else d_in * factor


def _refuse_other_kinds(file: Path, config: dict[str, Any]) -> None:
    if truth(file, config, "transcode") or truth(file, config, "skip_connection"):
        raise UserError(f"{file}: it is a transcoder, no SAE")
    if config.get("activation", "topk") != "topk":
        raise UserError(f"{file}: activation must be 'topk', got {shown(config['activation'])}")
    if truth(file, config, "signed"):
        raise UserError(f"{file}: features may be negative (signed), which no SAE here can have")
