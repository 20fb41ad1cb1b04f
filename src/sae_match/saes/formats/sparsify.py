"""EleutherAI sparsify's layout: `{hookpoint}/` with `cfg.json` and `sae.safetensors`, TopK."""

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from sae_match.errors import UserError
from sae_match.saes.formats.building import build, on_shifted_input, refuse_contradiction
from sae_match.saes.formats.describing import SAEDescription, described_by
from sae_match.saes.formats.hub import fetch
from sae_match.saes.formats.reading import in_folder, read_json, read_safetensors, tensor, whole
from sae_match.saes.sae import SAE


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
    _refuse_other_kinds(config_file, config)
    file = fetch(source, weights_path, revision)
    tensors = read_safetensors(file)
    if "W_skip" in tensors:
        raise UserError(f"{file} has a skip connection: it is a transcoder, no SAE")
    sae = build(
        file,
        W_enc=tensor(file, tensors, "encoder.weight").T,
        b_enc=tensor(file, tensors, "encoder.bias"),
        W_dec=tensor(file, tensors, "W_dec"),
        b_dec=tensor(file, tensors, "b_dec"),
        activation="topk",
        k=whole(config_file, config, "k"),
    )
    d_in = whole(config_file, config, "d_in") if "d_in" in config else None
    refuse_contradiction(config_file, sae, d_in=d_in, d_sae=_latents(config_file, config))
    return on_shifted_input(sae)


def describe(source: str, *, layer: int, path: str, revision: str | None) -> SAEDescription:
    """What the SAE is, by its config and its folder's name, the hook point; arguments as for `load`."""
    config_path = paths(layer=layer, path=path)[0]
    file = fetch(source, config_path, revision)
    config = read_json(file)
    said = described_by(file, config, d_in="d_in", d_sae="", hook=str(PurePosixPath(config_path).parent))
    return replace(said, d_sae=_latents(file, config))


def paths(*, layer: int, path: str) -> list[str]:
    """Paths of the files that an SAE is read from; arguments as for `load`."""
    return [in_folder(path, layer, "cfg.json"), in_folder(path, layer, "sae.safetensors")]


def _latents(file: Path, config: dict[str, Any]) -> int | None:
    """Number of features; `num_latents` of zero means a multiple of the input's width."""
    latents = whole(file, config, "num_latents") if "num_latents" in config else 0
    if latents == 0 and "expansion_factor" in config and "d_in" in config:
        return whole(file, config, "d_in") * whole(file, config, "expansion_factor")
    return latents or None


def _refuse_other_kinds(file: Path, config: dict[str, Any]) -> None:
    if config.get("transcode") or config.get("skip_connection"):
        raise UserError(f"{file}: it is a transcoder, no SAE")
    if config.get("activation", "topk") != "topk":
        raise UserError(f"{file}: activation must be 'topk', got {config['activation']!r}")
    if config.get("signed"):
        raise UserError(f"{file}: features may be negative (signed), which no SAE here can have")
