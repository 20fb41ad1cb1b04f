"""Two collections side by side: pairs go from an SAE of the first to an SAE of the second.

A pair of layers is two numbers, `(source layer, target layer)`, also where both are the same. What is known of one SAE
(its features, where they fire) is kept by its *end*, a number: in one collection the layer's own, since layer 4 is the
same SAE as a target and as a source; of two collections one that says which of them is meant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import SAEDescription, SAEFile
from sae_match.saes.sae import SAE
from sae_match.saes.settings import SAESettings
from sae_match.saes.telling_apart import told_apart

Pair = tuple[int, int]

# Ends of two collections: beyond every layer, so that a layer's number taken for an end is found nowhere.
_SOURCE, _TARGET = 10_000, 20_000


def ends_of(pair: Pair, apart: bool) -> tuple[int, int]:
    """The ends of a pair of layers.

    Args:
        pair: Source layer and target layer.
        apart: Whether they are of two collections.
    """
    return (pair[0] + _SOURCE, pair[1] + _TARGET) if apart else pair


def layer_of(end: int) -> int:
    """The layer of an end."""
    return end % _SOURCE


def is_target(end: int) -> bool:
    """Whether an end is of the collection that pairs lead to, where there are two."""
    return end >= _TARGET


def end_name(end: int, names: tuple[str, str] | None = None) -> str:
    """What an end is called: `3`, or `3@seed_100` where there are two collections."""
    if end < _SOURCE or names is None:
        return str(end)
    return f"{layer_of(end)}@{names[is_target(end)]}"


def pair_name(pair: Pair, names: tuple[str, str] | None = None) -> str:
    """What the files of a pair of layers are called: `L03-L04`, or `L03@saes-L03@seed_100` of two collections."""
    return "-".join(end_file(end, names) for end in ends_of(pair, names is not None))


def end_file(end: int, names: tuple[str, str] | None = None) -> str:
    """What the files of an end are called: `L03`, or `L03@seed_100` where there are two collections."""
    layer, _, name = end_name(end, names).partition("@")
    return f"L{int(layer):02d}" + (f"@{name}" if name else "")


@dataclass(frozen=True)
class TwoCollections:
    """The collection that pairs start from, and the one that they lead to; the SAEs of either are asked for by end.

    Attributes:
        sources: The first.
        targets: The second.
        models: What the two language models are called that they read; none where they read one. The same SAEs may be
            read on two.

    Raises:
        UserError: If they are the same on one model, or read different sites.
    """

    sources: SAECollection
    targets: SAECollection
    models: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if self.sources.site != self.targets.site:
            raise UserError(
                f"the source's SAEs read the site {self.sources.site}, the target's {self.targets.site}: features of "
                "different places of a layer are not compared; sae.site and target.site say which"
            )
        if self.models is None and _content(self.sources) == _content(self.targets):
            raise UserError(
                f"sae and target are the same collection, {self.sources.source}, in which each feature is its own "
                "partner: name another one as target, or leave target out to compare its layers"
            )

    @classmethod
    def of(cls, source: SAESettings, target: SAESettings, models: tuple[str, str] | None = None) -> "TwoCollections":
        """The collections that settings describe, and what their models are called, where these are two.

        Raises:
            UserError: As `SAECollection.of`, and if they are not two of the same site.
        """
        return cls(SAECollection.of(source), SAECollection.of(target), models)

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called, unlike each other."""
        return told_apart(self.sources, self.targets, self.models)

    @property
    def by_name(self) -> list[tuple[str, SAECollection]]:
        """The two with their names."""
        return list(zip(self.names, (self.sources, self.targets), strict=True))

    @property
    def apart(self) -> bool:
        """Whether sources and targets are of two collections."""
        return True

    @property
    def site(self) -> str:
        """Where in its decoder layer each SAE reads."""
        return self.sources.site

    @property
    def source(self) -> str:
        """Where both come from, for people."""
        return f"{self.sources.source} → {self.targets.source}"

    @property
    def neuronpedia(self) -> dict[int, tuple[str, str]]:
        """By end, the names of the model and of the source on Neuronpedia, where features have pages there."""
        sides = ((self.sources, _SOURCE), (self.targets, _TARGET))
        return {layer + of: names for one, of in sides for layer, names in one.neuronpedia.items()}

    @property
    def all_ends(self) -> list[int]:
        """The ends that have an SAE, the source's first."""
        sides = ((self.sources, _SOURCE), (self.targets, _TARGET))
        return [layer + of for one, of in sides for layer in sorted(one.layers)]

    def ends(self, pair: Pair) -> tuple[int, int]:
        """The ends of a pair of layers."""
        return ends_of(pair, apart=True)

    def end_name(self, end: int) -> str:
        """What an end is called, as in `3@seed_100`."""
        return end_name(end, self.names)

    def same_layers(self) -> list[Pair]:
        """Pairs of the layers that both have an SAE of, in ascending order.

        Raises:
            UserError: If there is none.
        """
        both = sorted(set(self.sources.layers) & set(self.targets.layers))
        if not both:
            of = (f"{_numbers(one.layers)} in {one.source}" for one in (self.sources, self.targets))
            raise UserError(f"no layer has an SAE in both collections ({', '.join(of)}): pair layers by pairs=[[3,4]]")
        return [(layer, layer) for layer in both]

    def chosen(self, pairs: Iterable[Sequence[int]] | None) -> list[Pair]:
        """Pairs of layers: those that are given, each once, or the layers that both have, each with itself.

        Raises:
            UserError: If there are none, or one has no SAE in its collection.
        """
        if pairs is None:
            return self.same_layers()
        found = list(dict.fromkeys((source, target) for source, target in pairs))
        if not found:
            raise UserError("pairs=[] chooses no pair of layers: name some as pairs=[[3,3],[3,4]]")
        for pair in found:
            self.refuse_unknown(pair)
        return found

    def all_pairs(self) -> list[Pair]:
        """Every layer of the source with every layer of the target."""
        return [(source, target) for source in sorted(self.sources.layers) for target in sorted(self.targets.layers)]

    def left_out(self, pairs: Iterable[Pair]) -> str:
        """Layers with an SAE that are in none of some pairs, for people; empty where all are."""
        chosen = list(pairs)
        told = []
        for side, (name, one) in enumerate(self.by_name):
            if alone := set(one.layers) - {pair[side] for pair in chosen}:
                told.append(f"{_numbers(alone)} of {name}")
        return ", ".join(told)

    def refuse_unknown(self, pair: Pair) -> None:
        """Check that both layers of a pair have an SAE, each in its own collection.

        Raises:
            UserError: If one has none.
        """
        for side, one, layer in zip(("sae", "target"), (self.sources, self.targets), pair, strict=True):
            try:
                one.refuse_unknown(layer)
            except UserError as error:
                raise UserError(f"{side}: {error}") from error

    def open(self, end: int) -> SAE:
        """Read the SAE of an end from its file.

        Raises:
            UserError: As `SAECollection.open`.
        """
        return self._of(end).open(layer_of(end))

    def describe(self, end: int) -> str:
        """Where the SAE of an end comes from, for people."""
        return self._of(end).describe(layer_of(end))

    def describe_sae(self, end: int) -> SAEDescription:
        """What the SAE of an end is, by the small files that describe it.

        Raises:
            UserError: As `SAECollection.describe_sae`.
        """
        return self._of(end).describe_sae(layer_of(end))

    def files(self, end: int) -> list[SAEFile]:
        """The files that the SAE of an end is read from.

        Raises:
            UserError: As `SAECollection.files`.
        """
        return self._of(end).files(layer_of(end))

    def _of(self, end: int) -> SAECollection:
        return self.targets if is_target(end) else self.sources


Collections = SAECollection | TwoCollections
"""Where the SAEs of pairs of layers come from: from one collection, or from two."""


def collections_of(
    source: SAESettings, target: SAESettings | None, models: tuple[str, str] | None = None
) -> Collections:
    """One collection, or two where there is a target or there are two models: without a target the same SAEs read both.

    Raises:
        UserError: As `SAECollection.of` and `TwoCollections`, and if one has no layer.
    """
    if target is None and models is None:
        collection = SAECollection.of(source)
        collection.refuse_none("sae")
        return collection
    both = TwoCollections.of(source, target or source, models)
    both.sources.refuse_none("sae")
    both.targets.refuse_none("target" if target else "sae")
    return both


def _content(one: SAECollection) -> tuple[object, ...]:
    """What makes a collection the one it is, whatever it is called."""
    layers = {layer: {"source": one.source_of(layer), **which} for layer, which in one.layers.items()}
    places = {layer: str(Path(str(which["source"])).absolute()) for layer, which in layers.items()}
    picked = {layer: {**which, "source": places[layer]} for layer, which in layers.items()}
    return one.format, one.revision, one.site, picked


def _numbers(layers: Iterable[int]) -> str:
    every = sorted(layers)
    return f"layer{'s' * (len(every) != 1)} {', '.join(map(str, every)) or 'none'}"
