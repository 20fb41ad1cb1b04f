"""The SAEs of one model by layer, opened when they are needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, get_args

from sae_match.errors import UserError
from sae_match.saes.formats import SAEFile, load_sae, sae_files
from sae_match.saes.sae import SAE

Site = Literal["residual", "residual_before", "mlp", "attention"]
"""What an SAE reads of a decoder layer: the residual stream after or before it, what its MLP adds to
the residual stream (behind a norm, where the model has one there), or its concatenated attention
heads before they are projected."""
SITES: tuple[Site, ...] = get_args(Site)


def checked_site(name: str) -> Site:
    """A site by its name.

    Raises:
        UserError: If there is none of that name.
    """
    if name not in SITES:
        raise UserError(f"unknown site {name!r}; there are {', '.join(SITES)}")
    return name


@dataclass
class SAECollection:
    """Which file is the SAE of which layer. No SAE is kept: each is read when it is opened.

    Attributes:
        format: File format, one of `sae_match.saes.formats.FORMATS`.
        source: Folder or hub repository that holds them all.
        revision: Commit, tag or branch of the repository.
        layers: For each layer, what picks its SAE within the source.
        site: Where in its decoder layer each of them reads: `residual` (after the layer),
            `residual_before`, `mlp` (its output) or `attention` (its heads).
    """

    format: str
    source: str
    revision: str | None = None
    layers: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    site: str = "residual"

    def __post_init__(self) -> None:
        checked_site(self.site)

    def open(self, layer: int) -> SAE:
        """Read the SAE of a layer from its file.

        Raises:
            UserError: If the collection has none for that layer, or its file is not sound.
        """
        which = self._which(layer)
        try:
            return load_sae(self.format, self.source, **which)
        except UserError as error:
            raise UserError(f"SAE of layer {layer}: {error}") from error

    def files(self, layer: int) -> list[SAEFile]:
        """The files that the SAE of a layer is read from, found without downloading them.

        Raises:
            UserError: If the collection has none for that layer, or the source does not have them.
        """
        which = self._which(layer)
        try:
            return sae_files(self.format, self.source, **which)
        except UserError as error:
            raise type(error)(f"SAE of layer {layer}: {error}") from error

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

    def _which(self, layer: int) -> dict[str, Any]:
        self.refuse_unknown(layer)
        which: dict[str, Any] = {"layer": layer, **self.layers[layer]}
        return which if self.revision is None else {**which, "revision": self.revision}
