"""Model, SAEs and text of a question that is asked from Python."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from transformers import PreTrainedTokenizerBase

from sae_match.evaluation.groups.circuits import Groups
from sae_match.evaluation.groups.members import Member, grouped_by
from sae_match.evaluation.groups.prompts import active_features
from sae_match.matching import baselines
from sae_match.matching.cost import Metric
from sae_match.matching.result import Matching
from sae_match.matching.significance.rematching import settings_of
from sae_match.model.fit import refuse_layers_beyond, refuse_other_width
from sae_match.model.residual_stream import ResidualStream
from sae_match.saes.folding import Fold
from sae_match.saes.sae import SAE
from sae_match.semantics.features.firing import Reading, batches_of, opened_model, saes_by_layer, texts_of
from sae_match.text.batches import TokenBatch

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Opened:
    """What is read, and by what.

    Attributes:
        stream, tokenizer: The language model.
        saes: By layer, where the model is.
        batches: The text, there too.
    """

    stream: ResidualStream
    tokenizer: PreTrainedTokenizerBase
    saes: Mapping[int, SAE]
    batches: Sequence[TokenBatch]

    def sae(self, layer: int) -> SAE:
        """The SAE of a layer."""
        return self.saes[layer]


def read(
    model: object,
    tokenizer: object,
    saes: Mapping[int, object],
    text: Iterable[str] | str | Path,
    documents: int,
    max_tokens: int | None,
    bos: str | None,
    seed: int,
    batch: int,
    device: str,
) -> Opened:
    """Open what `steer` is given.

    Raises:
        UserError: If model, text or SAEs cannot be had or do not fit each other.
    """
    how = Reading("residual", documents, max_tokens, bos, 1, 1, seed, batch, device)
    by_layer = saes_by_layer(saes)
    texts = texts_of(text, how)
    stream, words = opened_model(model, tokenizer, device)
    refuse_layers_beyond(stream, by_layer)
    for layer, sae in by_layer.items():
        refuse_other_width(stream, "residual", layer, sae.d_in)
    there = stream.model.get_input_embeddings().weight.device
    batches = [one.to(there) for one in batches_of(texts, words, stream, how)]
    return Opened(stream, words, {layer: sae.to(there) for layer, sae in by_layer.items()}, batches)


def nearest_of(matchings: Mapping[Pair, Matching], saes: Mapping[int, SAE]) -> dict[Pair, Matching]:
    """The nearest feature of the next layer, one-to-one or not, priced as each matching was.

    Raises:
        UserError: If an SAE is missing, or a matching does not say how it was found.
    """
    saes_by_layer({layer: saes.get(layer) for pair in matchings for layer in pair})
    found = {}
    for (source, target), matching in matchings.items():
        how = settings_of(matching)
        found[source, target] = baselines.nearest(
            saes[source],
            saes[target],
            fold=cast(Fold, how.fold),
            terms=how.terms,
            metric=cast(Metric, how.metric),
        )
    return found


def groups_of_prompt(
    opened: Opened,
    prompt: str,
    matchings: Mapping[Pair, Matching],
    most: int,
    names: Mapping[Member, str] | None = None,
    alpha: float | None = None,
) -> Groups:
    """The features that a prompt activates, grouped.

    Args:
        opened: The prompt as the only text, the model and its SAEs.
        prompt: Text.
        matchings: By pair of layers.
        most: Features of each layer that are taken.
        names: What features are called.
        alpha: Level of the matchings.
    """
    batch = opened.batches[0]
    layers = sorted({layer for pair in matchings for layer in pair} & set(opened.saes))
    active = active_features(opened.stream, opened.sae, layers, batch, most)
    tokens = opened.tokenizer.convert_ids_to_tokens(batch.input_ids[0].tolist())
    name = Path(str(getattr(opened.stream.model.config, "_name_or_path", "") or "")).name
    made = tuple(grouped_by(active, matchings, names)) if active else ()
    return Groups(made, prompt, tuple(tokens), active, name, alpha)
