"""Which SAEs, as plain settings that Hydra fills and checks."""

from dataclasses import dataclass, field
from typing import Any

from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection

MISSING = "???"


@dataclass
class SAESettings:
    """Which SAEs.

    Attributes:
        format: File format.
        source: Folder or hub repository.
        revision: Commit, tag or branch of the repository.
        layers: For each layer (its number as text, for the sake of the command line), what picks its SAE
            within the source; with `source`, within another one.
        site: Where in its decoder layer each SAE reads: `residual`, `residual_before`, `mlp`, `attention` or
            `attention_output`.
    """

    format: str = MISSING
    source: str = MISSING
    revision: str | None = None
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    site: str = "residual"

    def collection(self) -> SAECollection:
        """The collection that these settings describe.

        Raises:
            UserError: If a layer is no number, or there is no such site.
        """
        for layer in self.layers:
            if not layer.isdecimal():
                raise UserError(f"sae.layers must be named by layer numbers, got {layer!r}")
        which = {int(layer): where for layer, where in self.layers.items()}
        return SAECollection(self.format, self.source, self.revision, which, self.site)
