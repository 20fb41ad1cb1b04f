"""Write trained SAEs in the layouts that others read."""

from collections.abc import Mapping
from pathlib import Path

from sae_match.files import remove_all_leftovers
from sae_match.saes.formats import gemma_scope, sae_lens
from sae_match.saes.manifest import NAME, write_manifest
from sae_match.saes.sae import SAE
from sae_match.training.measuring import Measured
from sae_match.version import PROVENANCE


def save(
    saes: Mapping[int, SAE], measured: Mapping[int, Measured], destination: Path, model_name: str
) -> dict[int, Path]:
    """Write the SAE of each layer in Gemma Scope's layout and in SAELens', then the manifest that names them all.

    Returns:
        The file of each layer in Gemma Scope's layout.
    """
    files: dict[int, Path] = {}
    picked: dict[int, dict[str, str | int]] = {}
    written: list[Path] = []
    for layer, sae in saes.items():
        width, l0 = gemma_scope.width_of(sae.d_sae), round(measured[layer].l0)
        files[layer] = gemma_scope.save(sae, destination, layer=layer, width=width, l0=l0)
        beside = sae_lens.save(
            sae,
            destination / "sae_lens" / f"layer_{layer}",
            model_name=model_name,
            hook_name=f"blocks.{layer}.hook_resid_post",
        )
        written += [files[layer], *(file for file in beside.iterdir() if not file.name.startswith("."))]
        picked[layer] = {"width": width, "l0": l0}
        for folder in (files[layer].parent, destination / "sae_lens" / f"layer_{layer}"):
            # Of a run that was killed while it wrote them.
            remove_all_leftovers(folder, ["*"])
    write_manifest(destination, "gemma_scope", picked, written)
    remove_all_leftovers(destination, [NAME, PROVENANCE])
    return files
