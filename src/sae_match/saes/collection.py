"""The SAEs of one model by layer, opened when they are needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from sae_match.errors import UserError
from sae_match.saes.formats import load_sae
from sae_match.saes.sae import SAE


@dataclass
class SAECollection:
    """Which file is the SAE of which layer.

    Attributes:
        format: File format, one of `sae_match.saes.formats.FORMATS`.
        source: Folder or hub repository that holds them all.
        revision: Commit, tag or branch of the repository.
        layers: For each layer, what picks its SAE within the source.
    """

    format: str
    source: str
    revision: str | None = None
    layers: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def open(self, layer: int) -> SAE:
        """Read the SAE of a layer from its file.

        Raises:
            UserError: If the collection has none for that layer, or its file is not sound.
        """
        self.refuse_unknown(layer)
        which = dict(self.layers[layer])
        if self.revision is not None:
            which["revision"] = self.revision
        try:
            return load_sae(self.format, self.source, layer=layer, **which)
        except UserError as error:
            raise UserError(f"SAE of layer {layer}: {error}") from error

    def refuse_unknown(self, layer: int) -> None:
        """Check that a layer has an SAE, without opening it.

        Raises:
            UserError: If it has none.
        """
        if layer not in self.layers:
            known = ", ".join(str(known) for known in sorted(self.layers)) or "none"
            raise UserError(f"no SAE for layer {layer} in {self.source}; layers with one: {known}")

    def adjacent_pairs(self) -> list[tuple[int, int]]:
        """Pairs `(t, t + 1)` of layers that both have an SAE."""
        return [(layer, layer + 1) for layer in sorted(self.layers) if layer + 1 in self.layers]

    def all_pairs(self) -> list[tuple[int, int]]:
        """Pairs `(s, t)` of layers with an SAE, `s < t`."""
        return list(combinations(sorted(self.layers), 2))

    def describe(self, layer: int) -> str:
        """Where the SAE of a layer comes from, for people."""
        return f"{self.source} layer={layer} {dict(self.layers[layer])}"
