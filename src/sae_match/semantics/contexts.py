"""Where each feature fires: its strongest contexts, and a sample of the tokens on which it is active."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sae_match.semantics.settings import ContextSettings
from sae_match.semantics.strongest import Entries, Strongest
from sae_match.text.batches import TokenBatch

# A place is dataset, document and position in one number, small enough for a float64.
_POSITIONS, _DOCUMENTS = 2**20, 2**24
_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True)
class Place:
    """Where in the text a feature was active, and how strongly.

    Attributes:
        dataset: Name of the dataset.
        document: Number of the document in it.
        position: Of the token in the document, BOS being 0.
        value: The feature's value.
    """

    dataset: str
    document: int
    position: int
    value: float


class Contexts:
    """Collects where features of every layer fire while text streams by, at bounded memory.

    Two things are kept of each feature: the documents in which it is strongest, each with its strongest
    token; and a sample of the tokens on which it is active, drawn without replacement with
    probabilities in proportion to its value (Efraimidis and Spirakis 2006), whose counts estimate the share
    of each token in all that the feature says. The draw follows from the place in the text alone, so
    that any number of processes finds the same.

    Args:
        strongest: Documents kept of each feature.
        sample: Tokens sampled of each feature.
        seed: Of the sample.
    """

    def __init__(self, strongest: int = 8, sample: int = 24, seed: int = 0) -> None:
        self.strongest_kept, self.sample_kept, self.seed = strongest, sample, seed
        self.datasets: list[str] = []
        self._strongest: dict[int, Strongest] = {}
        self._sample: dict[int, Strongest] = {}
        self._places_of: tuple[TokenBatch, Tensor, Tensor] | None = None

    def start(self, features: Mapping[int, int], datasets: Sequence[str]) -> None:
        """Begin anew: with so many features in each layer, and these datasets."""
        self.datasets, self._places_of = list(datasets), None
        self._strongest = {layer: Strongest(size, self.strongest_kept) for layer, size in sorted(features.items())}
        self._sample = {layer: Strongest(size, self.sample_kept) for layer, size in sorted(features.items())}

    def add(self, layer: int, batch: TokenBatch, f: Float[Tensor, "tokens d_sae"]) -> None:
        """Look at a layer's features on the scored tokens of a batch; what is kept stays on their device."""
        token, feature = (f > 0).nonzero(as_tuple=True)
        value = f[token, feature].float()
        row, place = (part[token] for part in self._of_tokens(batch))
        entries = Entries(feature, value, value, place)
        self._strongest[layer].add(entries.first_of(feature * len(batch.documents) + row))
        drawn = _uniform(place, feature + (layer << 32) + self.seed).log() / value.double()
        self._sample[layer].add(Entries(feature, drawn, value, place))

    def flat(self) -> Float[Tensor, " entries"]:
        """All that was kept, in one vector on the CPU whose length follows from what `start` was told."""
        return torch.cat([kept.kept.flatten().cpu() for kept in self._all()])

    def fill(self, flats: Sequence[Float[Tensor, " entries"]]) -> None:
        """Replace what was kept by what all processes kept, on the CPU."""
        sizes = [kept.kept.numel() for kept in self._all()]
        self.start({layer: len(kept.kept) for layer, kept in self._strongest.items()}, self.datasets)
        for flat in flats:
            for kept, part in zip(self._all(), flat.split(sizes), strict=True):
                kept.join(part.view_as(kept.kept))

    def strongest(self, layer: int, feature: int) -> list[Place]:
        """The documents in which a feature is strongest, each with its strongest token, strongest first."""
        return list(self._places(self._strongest[layer].of(feature)))

    def sample(self, layer: int, feature: int) -> list[Place]:
        """Tokens on which a feature is active, drawn in proportion to its value."""
        return list(self._places(self._sample[layer].of(feature)))

    def _of_tokens(self, batch: TokenBatch) -> tuple[Int64[Tensor, " tokens"], Int64[Tensor, " tokens"]]:
        """Row and place of each scored token; found once a batch, as the host waits for how many there are."""
        if self._places_of is None or self._places_of[0] is not batch:
            row, position = batch.scored.nonzero(as_tuple=True)
            document = torch.tensor(batch.documents, device=row.device)[row]
            place = (self.datasets.index(batch.dataset) * _DOCUMENTS + document) * _POSITIONS + position
            self._places_of = batch, row, place
        return self._places_of[1:]

    def _all(self) -> list[Strongest]:
        return [*self._strongest.values(), *self._sample.values()]

    def _places(self, found: Float[Tensor, "entries two"]) -> Iterator[Place]:
        for value, place in found.tolist():
            number, position = divmod(int(place), _POSITIONS)
            dataset, document = divmod(number, _DOCUMENTS)
            yield Place(self.datasets[dataset], document, position, value)


def open_contexts(settings: ContextSettings, seed: int) -> Contexts | None:
    """What collects where features fire; none where nothing is wanted."""
    return Contexts(settings.contexts, settings.sample, seed) if settings.contexts else None


def shares(tokens: Sequence[str]) -> list[tuple[str, float]]:
    """Token profile: the share of each token in a sample, largest first."""
    return [(token, count / len(tokens)) for token, count in Counter(tokens).most_common()]


def _uniform(place: Int64[Tensor, " n"], stream: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Numbers in (0, 1) that follow from a place and a stream (splitmix64's finaliser)."""
    state = place * _signed(_MIX[0]) + stream * _signed(_MIX[1])
    for shift, factor in ((30, _MIX[1]), (27, _MIX[2])):
        state = (state ^ _shifted(state, shift)) * _signed(factor)
    state = state ^ _shifted(state, 31)
    return (_shifted(state, 11).double() + 0.5) / 2**53


def _shifted(state: Int64[Tensor, " n"], bits: int) -> Int64[Tensor, " n"]:
    """A shift to the right that brings zeros in."""
    shifted: Int64[Tensor, " n"] = (state >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def _signed(number: int) -> int:
    """The int64 with the same bits."""
    return number - 2**64 if number >= 2**63 else number
