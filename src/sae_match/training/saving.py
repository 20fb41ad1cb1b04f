"""Write trained SAEs in the layouts that others read."""

import json
from collections.abc import Mapping
from pathlib import Path

from sae_match.files import written_whole
from sae_match.saes.formats import gemma_scope, sae_lens
from sae_match.saes.sae import SAE
from sae_match.training.measuring import Measured

#: The choice of group `sae` that `scripts/match.py --config-dir FOLDER sae=trained` finds.
CHOICE = Path("sae") / "trained.yaml"


def save(
    saes: Mapping[int, SAE], measured: Mapping[int, Measured], destination: Path, model_name: str
) -> dict[int, Path]:
    """Write the SAE of each layer in Gemma Scope's layout and in SAELens', then the choice that names them all.

    Returns:
        The file of each layer in Gemma Scope's layout.
    """
    files: dict[int, Path] = {}
    lines = [
        "# SAEs that scripts/train.py trained; use them with",
        "#   python scripts/validate.py --config-dir THE_FOLDER_ABOVE_THIS_ONE sae=trained \\",
        "#       model=local model.source=… text=…",
        "format: gemma_scope",
        # JSON's strings are YAML's.
        f"source: {json.dumps(str(destination.resolve()), ensure_ascii=False)}",
        "layers:",
    ]
    for layer, sae in saes.items():
        width, l0 = gemma_scope.width_of(sae.d_sae), round(measured[layer].l0)
        files[layer] = gemma_scope.save(sae, destination, layer=layer, width=width, l0=l0)
        sae_lens.save(
            sae,
            destination / "sae_lens" / f"layer_{layer}",
            model_name=model_name,
            hook_name=f"blocks.{layer}.hook_resid_post",
        )
        lines.append(f'  "{layer}": {{width: "{width}", l0: {l0}}}')
    with written_whole(destination / CHOICE) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files
