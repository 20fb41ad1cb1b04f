"""Measure trained SAEs on text that training did not see, and write them in the layouts that others read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from sae_match.errors import UserError
from sae_match.evaluation.statistics.moments import Activity, Moments, explained_variance
from sae_match.files import written_whole
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.formats import gemma_scope, sae_lens
from sae_match.saes.sae import SAE
from sae_match.training.activations import token_residuals
from sae_match.training.text_stream import CropStream

#: The choice of group `sae` that `scripts/match.py --config-dir FOLDER sae=trained` finds.
CHOICE = Path("sae") / "trained.yaml"
#: Tokens whose feature values exist at one time.
_PART = 4096


@dataclass(frozen=True)
class Measured:
    """What an SAE does on tokens.

    Attributes:
        residual: Moments of the residuals.
        error: Moments of reconstruction less residual.
        activity: How often its features were active.
    """

    residual: Moments
    error: Moments
    activity: Activity

    @classmethod
    def of(cls, sae: SAE, x: Float[Tensor, "tokens d_in"]) -> "Measured":
        """Measure on at least one token."""
        f = sae.encode(x)
        return cls(Moments.of(x.double()), Moments.of((sae.decode(f) - x).double()), Activity.of(f > 0))

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(self.residual + other.residual, self.error + other.error, self.activity + other.activity)

    @property
    def l0(self) -> float:
        """Mean number of active features on a token."""
        return self.activity.l0

    @property
    def explained_variance(self) -> float:
        """Share of the residuals' variance that the reconstruction has."""
        return explained_variance(self.residual, self.error)

    @property
    def dead(self) -> int:
        """Features that were never active."""
        return int((self.activity.active == 0).sum())


def measure(
    saes: Mapping[int, SAE], stream: ResidualStream, text: CropStream, tokens: int, device: torch.device
) -> dict[int, Measured]:
    """Measure the SAEs of several layers on the same tokens, `tokens` of them or as many as the text has.

    Raises:
        UserError: If it has none.
    """
    found: dict[int, Measured] = {}
    seen = 0
    for batch in text:
        residuals = token_residuals(stream, batch, list(saes)).to(device)
        for (layer, given), of_layer in zip(saes.items(), residuals, strict=True):
            sae = given.to(device)
            for x in of_layer.float().split(_PART):
                new = Measured.of(sae, x)
                found[layer] = found[layer] + new if layer in found else new
        seen += residuals.shape[1]
        if seen >= tokens:
            break
    if not found:
        raise UserError(no_text(text))
    return found


def no_text(text: CropStream) -> str:
    """What is wrong with a stream that gives nothing."""
    return (
        f"dataset {text.ended!r} has no document in its part {text.part!r}, on which trained SAEs are measured; every "
        "document goes into one of ten parts by its name, so give some dozens"
    )


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
