"""Write trained SAEs in the layouts that others read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from sae_match.files import remove_all_leftovers
from sae_match.owned import MadeFiles
from sae_match.saes.formats import gemma_scope, sae_lens
from sae_match.saes.manifest import NAME, write_manifest
from sae_match.saes.sae import SAE
from sae_match.saes.sites import Site, hook_name
from sae_match.training.measuring import Measured
from sae_match.version import PROVENANCE

# Of what trainings have written below their destination.
_RECORD = ".made.json"


def save(
    saes: Mapping[int, SAE],
    measured: Mapping[int, Measured],
    destination: Path,
    model_name: str,
    site: Site = "residual",
) -> dict[int, Path]:
    """Write the SAE of each layer in Gemma Scope's layout and in SAELens', then the manifest that names them all.

    Returns:
        The file of each layer in Gemma Scope's layout.
    """
    picked: dict[int, dict[str, str | int]] = {
        layer: {"width": gemma_scope.width_of(sae.d_sae), "l0": round(measured[layer].l0)}
        for layer, sae in saes.items()
    }
    names = [name for layer in saes for name in (_own_path(layer, picked[layer]), *_beside(layer))]
    made = made_by_training(destination)
    made.begin(names)
    for layer, sae in saes.items():
        file = gemma_scope.save(sae, destination, layer=layer, **cast(Any, picked[layer]))
        beside = sae_lens.save(
            sae,
            destination / "sae_lens" / f"layer_{layer}",
            model_name=model_name,
            hook_name=hook_name(site, layer),
        )
        for folder in (file.parent, beside):
            # Of a run that was killed while it wrote them.
            remove_all_leftovers(folder, ["*"])
    made.end(names)
    write_manifest(destination, "gemma_scope", picked, [destination / name for name in names], site)
    remove_all_leftovers(destination, [NAME, PROVENANCE])
    return {layer: destination / _own_path(layer, which) for layer, which in picked.items()}


def made_by_training(destination: Path) -> MadeFiles:
    """What trainings have written to a destination."""
    return MadeFiles(destination, destination / _RECORD)


def _own_path(layer: int, which: Mapping[str, str | int]) -> str:
    return gemma_scope.path_of(layer, str(which["width"]), int(which["l0"]))


def _beside(layer: int) -> list[str]:
    return sae_lens.paths(layer=layer, path="sae_lens/layer_{layer}")
