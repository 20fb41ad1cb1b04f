"""Where evidence comes from: opened before anything is matched, gathered once it is known of which features."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch

from sae_match.matching.solver.planning import free_memory
from sae_match.model.fit import refuse_layers_beyond, refuse_other_width
from sae_match.model.loading import load_model, refuse_longer_text
from sae_match.model.settings import ModelSettings
from sae_match.saes.shelf import SAEShelf
from sae_match.saes.sites import checked_site
from sae_match.saes.two import Collections, layer_of
from sae_match.semantics.collecting import collect
from sae_match.semantics.contexts import Contexts
from sae_match.semantics.evidence import DescriptionLookup, Evidence, Published, WhereItFires
from sae_match.semantics.passages import Passages
from sae_match.text.batches import TextData
from sae_match.text.settings import TextSettings

Watch = Callable[[int, int], None]

# Of the free memory, for SAEs that stay open.
_SHARE_OF_SAES = 0.5


@runtime_checkable
class EvidenceSource(Protocol):
    """Gives evidence of the features of some layers.

    Attributes:
        work: What gathering is called while it goes on.
    """

    work: str

    def gather(self, features: Mapping[int, int], watch: Watch) -> Evidence:
        """Evidence as far as it comes all at once.

        Args:
            features: Number of features of each layer.
            watch: Told how much is done, and of how much.
        """


class PublishedDescriptions:
    """Descriptions that come in bulk; single ones are asked for when questions are known.

    Args:
        descriptions: Of the features of a collection.
    """

    work = "descriptions"

    def __init__(self, descriptions: DescriptionLookup) -> None:
        self._descriptions = descriptions

    def gather(self, features: Mapping[int, int], watch: Watch) -> Published:
        """What the bulk files of these layers say."""
        self._descriptions.fetch(dict.fromkeys(features, ()), lambda _, done, total: watch(done, total))
        return Published(self._descriptions, features)


class TextToRead:
    """What is read to see where features fire; whatever would stop that is found before anything is matched.

    Args:
        model: The language model.
        text: What it reads.
        device: Where it runs.
        collection: The SAEs.
        layers: Layers whose features are looked at; ends where there are two collections.
        seed: Of the sample of tokens that is kept of each feature.

    Raises:
        UserError: If model or text cannot be had, documents are longer than the model reads, or the SAEs
            are those of another model.
    """

    work = "reading text"

    def __init__(
        self,
        model: ModelSettings,
        text: TextSettings,
        device: str,
        collection: Collections,
        layers: Sequence[int],
        seed: int,
    ) -> None:
        self._collection, self._site, self._device = collection, checked_site(collection.site), torch.device(device)
        stream, self._tokenizer = load_model(model)
        refuse_longer_text(stream, text.max_tokens)
        refuse_layers_beyond(stream, map(layer_of, layers))
        # One stands for all: files of a collection are of one model, and large.
        for layer in layers[:1] if not collection.apart else layers:
            refuse_other_width(stream, self._site, layer_of(layer), collection.open(layer).d_in)
        self._data = TextData(text, self._tokenizer)
        self._data.setup("validate")
        self._data.refuse_tokens_beyond(stream.vocabulary)
        self._contexts = Contexts(seed=seed)
        self._stream = stream.to(self._device)

    def gather(self, features: Mapping[int, int], watch: Watch) -> WhereItFires:
        """Where the features fire in the text, which is read now."""
        batches = self._data.batches
        open_sae = SAEShelf(self._collection, _SHARE_OF_SAES * free_memory(self._device), self._device).open
        active = collect(self._stream, self._site, open_sae, features, batches, self._contexts, watch)
        return WhereItFires(Passages(self._contexts, batches, self._tokenizer), active)
