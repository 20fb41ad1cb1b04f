"""All that is asked of where features come from: by weights from three collections, and on text."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sae_match.errors import UserError
from sae_match.evaluation.groups.settings import checked_members
from sae_match.evaluation.provenance.contributions import Contributions, ContributionSums
from sae_match.evaluation.provenance.fit import refuse_unfit, refuse_unwritten
from sae_match.evaluation.provenance.kinds import LayerProvenance
from sae_match.evaluation.provenance.origins import Origin, origin_of
from sae_match.evaluation.provenance.sources import Source
from sae_match.evaluation.provenance.writing import rows_in_residual
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.collection import SAECollection
from sae_match.saes.sae import SAE, Transcoder
from sae_match.saes.sites import written_site
from sae_match.tensors import plain_torch


@dataclass(frozen=True)
class Provenance:
    """Where the features of all layers come from.

    Attributes:
        layers: By weights.
        contributions: On text, by layer and dataset.
        sources: What is called what: the collection of each source, for people.
        seed: Of all intervals.
        chosen: Features whose graph is written, as pairs of layer and feature.
    """

    layers: Mapping[int, LayerProvenance]
    contributions: Mapping[tuple[int, str], Contributions]
    sources: Mapping[Source, str]
    seed: int = 0
    chosen: tuple[tuple[int, int], ...] = field(default=())

    @property
    def datasets(self) -> list[str]:
        """Datasets that were read."""
        return list(dict.fromkeys(dataset for _, dataset in self.contributions))


class ProvenanceStudy(ContributionSums):
    """Asks where the features of each layer come from; looks on (`Observer`) while the text is surveyed.

    Args:
        stream: The language model.
        residual: SAEs of the residual stream, whose features are asked about.
        modules: SAEs of what MLP and attention add, or transcoders of the MLP; at least one collection.
        rotations: Random dictionaries that each is held against.
        alpha: Level at which a nearest row counts as alike.
        seed: Of the random dictionaries and of intervals.
        chosen: Features whose graph is wanted; by default the most active ones of the last layer.

    Raises:
        UserError: If a collection reads another site than it must, or the model has not that site.
    """

    def __init__(
        self,
        stream: ResidualStream,
        residual: SAECollection,
        modules: Mapping[Source, SAECollection],
        *,
        rotations: int = 8,
        alpha: float = 0.05,
        seed: int = 0,
        chosen: Any = (),
    ) -> None:
        super().__init__(stream, residual.open)
        self._residual, self._modules = residual, modules
        self._rotations, self._alpha, self._seed = rotations, alpha, seed
        refuse_unfit(residual, modules, rotations)
        for name, collection in modules.items():
            for layer in residual.layers:
                stream.anatomy.place(written_site(collection.site), layer)
                if name == "attention":
                    stream.anatomy.place("attention_output", layer)
        self._chosen = tuple(checked_members(chosen, "provenance.features"))
        for layer, _ in self._chosen:
            residual.refuse_unknown(layer)

    @plain_torch()
    def found(self, watch: Callable[[int, int], None] = lambda *_: None) -> Provenance:
        """What weights and text say, of the layers whose features were seen on text; of all where no text was read."""
        layers: dict[int, LayerProvenance] = {}
        seen = self._layers or sorted(self._residual.layers)
        wanted = [layer for layer in seen if self._has_source(layer)]
        for number, layer in enumerate(wanted):
            layers[layer] = self._layer(layer)
            watch(number + 1, len(wanted))
        contributions = {key: self.found_of(*key) for key in self._sums}
        names = {"residual": self._residual.source, **{name: one.source for name, one in self._modules.items()}}
        return Provenance(layers, contributions, names, self._seed, self._chosen or _most_active(contributions))

    def _has_source(self, layer: int) -> bool:
        return layer - 1 in self._residual.layers or any(layer in one.layers for one in self._modules.values())

    def _layer(self, layer: int) -> LayerProvenance:
        rows = self._open(layer).W_dec
        origins = {name: self._origin(rows, written) for name, written in self._written(layer, rows.device)}
        onward = None
        if layer + 1 in self._residual.layers:
            onward = self._origin(rows, self._open(layer + 1).W_dec)
        return LayerProvenance(layer, origins, self._alpha, onward)

    def _written(self, layer: int, device: torch.device) -> Iterator[tuple[Source, torch.Tensor]]:
        """Directions that each source of a layer writes."""
        if layer - 1 in self._residual.layers:
            yield "residual", self._open(layer - 1).W_dec
        for name, collection in self._modules.items():
            if layer in collection.layers:
                sae: SAE = collection.open(layer).to(device)
                refuse_unwritten(name, collection, layer, isinstance(sae, Transcoder))
                self._refuse_other_width(name, layer, sae)
                yield name, rows_in_residual(self._stream, written_site(collection.site), layer, sae.W_dec)

    def _origin(self, features: torch.Tensor, rows: torch.Tensor) -> Origin:
        return origin_of(features, rows, rotations=self._rotations, seed=self._seed)

    def _refuse_other_width(self, name: Source, layer: int, sae: SAE) -> None:
        width = self._stream.width(written_site(self._modules[name].site))
        if sae.d_in != width:
            raise UserError(f"the {name} SAE of layer {layer} reads width {sae.d_in}, the model's {name} has {width}")


def _most_active(
    contributions: Mapping[tuple[int, str], Contributions], number: int = 12
) -> tuple[tuple[int, int], ...]:
    """The features of the last layer that are active most often on all datasets together."""
    if not contributions:
        return ()
    last = max(layer for layer, _ in contributions)
    active = torch.stack([one.active for (layer, _), one in contributions.items() if layer == last]).sum(0)
    return tuple((last, int(feature)) for feature in active.argsort(descending=True, stable=True)[:number])
