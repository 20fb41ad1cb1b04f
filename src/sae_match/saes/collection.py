"""The SAEs of one model by layer, opened when they are needed."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_match.errors import UserError
from sae_match.saes.formats import SAEDescription, SAEFile, describe_sae, load_sae, sae_files
from sae_match.saes.manifest import NAME, read_folder, recorded_hashes, recorded_site, refuse_other_content
from sae_match.saes.sae import SAE
from sae_match.saes.settings import FOLDER, SAESettings
from sae_match.saes.sites import Spot, matched_site, refuse_other_spot

if TYPE_CHECKING:
    import pandas

_SOURCE = "source"
# What picks an SAE besides its layer, as it is said on a command line.
_IN_FOLDERS = "\"sae.path='layer_{layer}'\""
_PICKED = {
    "gemma_scope": "'+sae.each={width: 16k, l0: 71}'",
    "gemma_scope_2": "'+sae.each={width: 16k, l0: medium}'",
    "sae_lens": _IN_FOLDERS,
    "dictionary_learning": _IN_FOLDERS,
    "state_dict": _IN_FOLDERS,
    "gemma_scope_2_crosscoder": "'+sae.each={layers: 9_17_22_29, width: 65k, l0: medium}'",
}


@dataclass
class SAECollection:
    """Which file is the SAE of which layer. No SAE is kept: each is read when it is opened.

    Attributes:
        format: File format, one of `sae_match.saes.formats.FORMATS`.
        source: Folder or hub repository that holds them all.
        revision: Commit, tag or branch of the repository.
        layers: For each layer, what picks its SAE within the source; with `source`, within another one.
        site: Where in its decoder layer each of them reads, one of `sae_match.saes.sites.SITES`.
        neuronpedia: For layers whose features have pages on Neuronpedia, the names of the model and of the
            source there.
        recorded: SHA-256 of files by their paths in the source, a folder, as far as its manifest records them; what is
            opened is compared with it.
        name: What it is called beside another one; by default the end of its source.
    """

    format: str
    source: str
    revision: str | None = None
    layers: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    site: str = "residual"
    neuronpedia: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    recorded: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None

    def __post_init__(self) -> None:
        matched_site(self.site)

    @classmethod
    def of(cls, settings: SAESettings) -> "SAECollection":
        """The collection that settings describe.

        Raises:
            UserError: If a layer is no number, there is no such site, no such name on Neuronpedia can be, or a folder
                does not say what it holds, or says that it reads another site.
        """
        name, which, site = settings.format, settings.which(), settings.site
        recorded: Mapping[str, str] = {}
        if name == FOLDER:
            name, which = read_folder(Path(settings.source))
            recorded = recorded_hashes(Path(settings.source))
            site = _site_of_folder(Path(settings.source), settings.site)
        pages = settings.neuronpedia.names(which)
        return cls(name, settings.source, settings.revision, which, site, pages, recorded, settings.name)

    @property
    def names(self) -> None:
        """What sources and targets are called: nothing, since both are of this collection."""

    @property
    def apart(self) -> bool:
        """Whether sources and targets are of two collections (`sae_match.saes.two`)."""
        return False

    def ends(self, pair: tuple[int, int]) -> tuple[int, int]:
        """What the SAEs of a pair of layers are asked for by: their layers."""
        return pair

    @property
    def all_ends(self) -> list[int]:
        """What the SAEs are asked for by: the layers that have one."""
        return sorted(self.layers)

    def left_out(self, pairs: Iterable[tuple[int, int]]) -> str:
        """Layers with an SAE that are in none of some pairs, for people; empty where all are."""
        alone = sorted(set(self.layers) - {layer for pair in pairs for layer in pair})
        return f"layers {', '.join(map(str, alone))}" if alone else ""

    def end_name(self, layer: int) -> str:
        """What a layer is called."""
        return str(layer)

    def open(self, layer: int) -> SAE:
        """Read the SAE of a layer from its file.

        Raises:
            UserError: If the collection has none for that layer, its file is not sound or not what was recorded, or it
                says that it reads elsewhere.
        """
        # First, so that nothing large is downloaded for nothing.
        self.describe_sae(layer)
        with self._naming(layer):
            for path in (file.path for file in self.files(layer)) if self.recorded else ():
                if path in self.recorded:
                    refuse_other_content(Path(self.source), path, self.recorded[path])
            return load_sae(self.format, self.source_of(layer), **self._which(layer))

    def describe_sae(self, layer: int) -> SAEDescription:
        """What the SAE of a layer is, by the small files that describe it.

        Raises:
            UserError: If the collection has none for that layer, such a file is not sound, or it says
                that it reads elsewhere than at the collection's site.
        """
        which = self._which(layer)
        with self._naming(layer):
            described = describe_sae(self.format, self.source_of(layer), **which)
            refuse_other_spot(described.hook, Spot(layer, matched_site(self.site)))
        return described

    def files(self, layer: int) -> list[SAEFile]:
        """The files that the SAE of a layer is read from, found without downloading them.

        Raises:
            UserError: If the collection has none for that layer, or the source does not have them.
        """
        which = self._which(layer)
        with self._naming(layer):
            return sae_files(self.format, self.source_of(layer), **which)

    def table(self) -> "pandas.DataFrame":
        """What each SAE is, a row a layer: what picks it, and what its small files say.

        Columns: `layer`, `site`, `source`, what picks SAEs, `d_in`, `d_sae`, `hook`, `has_thresholds`, `unmeasurable`.

        Raises:
            UserError: As `describe_sae`.
        """
        # Only who asks for a table waits for its library.
        from pandas import DataFrame

        rows = []
        for layer in sorted(self.layers):
            picked = {key: value for key, value in self.layers[layer].items() if key != _SOURCE}
            told = {"layer": layer, "site": self.site, "source": self.source_of(layer), **picked}
            rows.append({**told, **vars(self.describe_sae(layer))})
        return DataFrame(rows)

    def refuse_none(self, setting: str) -> None:
        """Check that it has a layer.

        Args:
            setting: Where a user has named it: `sae` or `target`.

        Raises:
            UserError: If it has none.
        """
        if not self.layers:
            picked = f" and {_PICKED[self.format]}" if self.format in _PICKED else ""
            raise UserError(
                f"no layer of {self.source} is named: say '{setting}.layer_numbers=[3,4]'"
                f"{picked.replace('sae.', f'{setting}.')}"
            )

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
        which = {key: value for key, value in self.layers[layer].items() if key != _SOURCE}
        return f"{self.source_of(layer)} layer={layer} {which}"

    def source_of(self, layer: int) -> str:
        """Folder or hub repository of the SAE of a layer."""
        return str(self.layers[layer].get(_SOURCE, self.source))

    @contextmanager
    def _naming(self, layer: int) -> Iterator[None]:
        """Say of which layer's SAE an error speaks."""
        try:
            yield
        except UserError as error:
            raise type(error)(f"SAE of layer {layer}: {error}") from error

    def _which(self, layer: int) -> dict[str, Any]:
        self.refuse_unknown(layer)
        which: dict[str, Any] = {"layer": layer, **self.layers[layer]}
        elsewhere = which.pop(_SOURCE, None)
        # The revision is of the collection's own source.
        return which if self.revision is None or elsewhere else {**which, "revision": self.revision}


def _site_of_folder(folder: Path, told: str) -> str:
    """Where a folder's SAEs read: what it says, unless it says nothing and a setting does.

    Raises:
        UserError: If both speak and disagree.
    """
    said = recorded_site(folder)
    if said in (None, "residual"):
        return told
    if told not in ("residual", said):
        raise UserError(
            f"{folder / NAME} says that its SAEs read the site {said}, sae.site={told} another; leave it out"
        )
    return str(said)
